"""From a write to S3 to a fresh read through hotset, by conf/aws: topic, queue, function, hotset's webhook (R5)."""

import json
import subprocess
import sys
import uuid

import pytest

from compare import Answer, Caller
from hotset import Hotset
from processes import environment, free_port
from stacks import AWS, Stack, readme_block, start_moto
from test_cache import is_hit

sys.path.append(str(AWS / "lambda"))

import hotset_relay  # noqa: E402

SECRET = "a made-up secret of a webhook"


class Context:
    """Half a minute for each invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class Listening(Hotset):
    """hotset with a webhook. What it caches it trusts for a minute, unless it is told."""

    def __init__(self, *arguments):
        self.webhook = f"127.0.0.1:{free_port()}"
        super().__init__(*arguments)

    def config(self, *arguments) -> dict:
        webhook = {"address": self.webhook, "secrets": [SECRET]}
        return super().config(*arguments) | {"events": {"webhook": webhook}}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    running = start_moto(tmp_path_factory.mktemp("moto"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def replicas(origin, program, mode, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"hotset-{number}") for number in range(2)]
    running = [Listening(program, folder, origin, mode) for folder in folders]
    yield running
    for hotset in running:
        hotset.stop()


@pytest.fixture(scope="module")
def stack(origin, tmp_path_factory) -> Stack:
    return Stack(origin, tmp_path_factory.mktemp("stack"), Route="sns")


@pytest.fixture
def relay(replicas, monkeypatch):
    """The function, for these replicas."""
    urls = ",".join(f"http://{hotset.webhook}/" for hotset in replicas)
    monkeypatch.setenv("HOTSET_URLS", urls)

    def call(event: dict, secret: str = SECRET):
        monkeypatch.setenv("HOTSET_SECRET", secret)
        return hotset_relay.handler(event, Context())

    return call


class Reading(Hotset):
    """hotset with a queue of a stack of its own."""

    def __init__(self, stack: Stack, queue: str, *arguments):
        # The queue's URL says AWS, where this one is not.
        self.queue = {"queue": queue, "endpoint": stack.server.endpoint, "wait": "1s"}
        super().__init__(*arguments)

    def config(self, *arguments) -> dict:
        return super().config(*arguments) | {"events": {"sqs": [self.queue]}}


class Cached:
    """An object that all these replicas hold."""

    def __init__(self, stack: Stack, replicas: list[Hotset]):
        self.stack, self.key = stack, f"hot/a b/ü+{uuid.uuid4().hex}"
        self.readers = [Caller(hotset) for hotset in replicas]
        self.write(b"old")
        for reader in self.readers:
            assert any(is_hit(self.ask(reader)) for _ in range(10))

    def write(self, body: bytes) -> None:
        """Past hotset."""
        self.stack.s3.put_object(Bucket=self.stack.bucket, Key=self.key, Body=body)

    def ask(self, reader: Caller) -> Answer:
        return reader("get_object", Bucket=self.stack.bucket, Key=self.key)

    def read(self) -> set[bytes]:
        return {self.ask(reader).body for reader in self.readers}


@pytest.fixture
def cached(stack, replicas) -> Cached:
    return Cached(stack, replicas)


def as_lambda_hands_on(messages: list[dict]) -> dict:
    """The batch that an event source mapping makes of messages of a queue."""
    records = [
        {"messageId": message["MessageId"], "eventSource": "aws:sqs", "body": message["Body"]}
        for message in messages
    ]
    return {"Records": records}


def test_r5_what_the_queue_holds_makes_every_replica_forget(stack, cached, relay):
    queue = stack.queues[0]
    stack.messages(queue)
    cached.write(b"new")
    assert cached.read() == {b"old"}
    messages = stack.receive(queue)
    assert messages
    assert relay(as_lambda_hands_on(messages)) == {"batchItemFailures": []}
    assert cached.read() == {b"new"}


def test_r5_what_s3_invokes_the_function_with_makes_every_replica_forget(stack, cached, relay):
    queue = stack.queues[1]
    stack.messages(queue)
    cached.write(b"new")
    for told in stack.messages(queue):
        assert relay(told) is None
    assert cached.read() == {b"new"}


def test_what_the_wrong_secret_signs_makes_nothing_forgotten_and_comes_again(stack, cached, relay):
    queue = stack.queues[2]
    stack.messages(queue)
    cached.write(b"new")
    messages = stack.receive(queue)
    answer = relay(as_lambda_hands_on(messages), "another made-up secret")
    failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    assert failed == [message["MessageId"] for message in messages]
    assert cached.read() == {b"old"}


def test_what_hotset_cannot_read_is_left_to_the_queue(relay):
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})
    bodies = [test_event, "no JSON", test_event]
    messages = [{"MessageId": f"m{n}", "Body": body} for n, body in enumerate(bodies)]
    answer = relay(as_lambda_hands_on(messages))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


@pytest.fixture(params=["sns", "eventbridge"])
def reading(request, origin, program, mode, tmp_path_factory):
    """A stack by that route, and two replicas that read its queues."""
    stack = Stack(origin, tmp_path_factory.mktemp("stack"), Route=request.param)
    running = []
    for queue in stack.queues[:2]:
        folder = tmp_path_factory.mktemp("hotset")
        running.append(Reading(stack, queue, program, folder, origin, mode))
    yield stack, running
    for hotset in running:
        hotset.stop()


def test_r5_each_replica_reads_its_queue_and_forgets(reading):
    stack, replicas = reading
    cached = Cached(stack, replicas)
    cached.write(b"new")
    replicas[0].process.wait_until(lambda: cached.read() == {b"new"})


def test_the_configuration_of_the_readme_is_right(program, tmp_path):
    config = tmp_path / "hotset.yaml"
    config.write_text(readme_block("events:\n  sqs:"))
    check = [program, "check", "--config", config]
    done = subprocess.run(check, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
