"""Object events by SQS: moto's S3 notifies moto's SQS, SNS and EventBridge, and hotset forgets.

The rule's ttl is an hour, so what is read fresh was told by an event.
"""

import json
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import boto3
import pytest
import requests

from compare import Caller
from hotset import Hotset
from servers import REGION, Server, start_moto

KEY = "a b/ü+x.txt"
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
APPLIED = 'hotset_events_total{source="sqs",result="applied"}'
UNDECODABLE = 'hotset_events_total{source="sqs",result="undecodable"}'


class Aws:
    """moto's other services: queues, topics, buses, and buckets that notify them."""

    def __init__(self, moto: Server):
        keys = {"aws_access_key_id": moto.access, "aws_secret_access_key": moto.secret}
        self.moto = moto
        for name in ("s3", "sqs", "sns", "events"):
            client = boto3.client(name, region_name=REGION, endpoint_url=moto.endpoint, **keys)
            setattr(self, name, client)

    def queue(self, **attributes: str) -> tuple[str, str]:
        """The URL and the ARN of a new queue."""
        name = f"q-{uuid.uuid4().hex[:12]}"
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, self.attribute(url, "QueueArn")

    def attribute(self, url: str, name: str) -> str:
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return found["Attributes"][name]

    def messages(self, url: str) -> int:
        """Those that wait and those that somebody has received and not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(int(self.attribute(url, name)) for name in names)

    def bucket(self, **notifications) -> str:
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name)
        self.s3.put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration=notifications
        )
        return name

    def direct(self, arn: str) -> str:
        return self.bucket(QueueConfigurations=[{"QueueArn": arn, "Events": EVENTS}])

    def by_topic(self, arn: str, raw: str) -> str:
        topic = self.sns.create_topic(Name=f"t-{uuid.uuid4().hex[:12]}")["TopicArn"]
        raw = {"RawMessageDelivery": raw}
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
        return self.bucket(TopicConfigurations=[{"TopicArn": topic, "Events": EVENTS}])

    def by_bus(self, arn: str) -> str:
        bucket, rule = self.bucket(EventBridgeConfiguration={}), f"r-{uuid.uuid4().hex[:12]}"
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
        self.events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule=rule, Targets=[{"Id": "hotset", "Arn": arn}])
        return bucket


ROADS = {
    "S3 to SQS": Aws.direct,
    "S3 to SNS to SQS": lambda aws, arn: aws.by_topic(arn, "false"),
    "S3 to SNS to SQS, raw": lambda aws, arn: aws.by_topic(arn, "true"),
    "S3 to EventBridge to SQS": Aws.by_bus,
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> Aws:
    moto = start_moto(tmp_path_factory.mktemp("moto"))
    yield Aws(moto)
    moto.stop()


@dataclass
class Road:
    bucket: str
    queue: str


@pytest.fixture(scope="module")
def roads(aws) -> dict[str, Road]:
    found = {}
    for name, wire in ROADS.items():
        url, arn = aws.queue()
        found[name] = Road(wire(aws, arn), url)
    return found


@pytest.fixture(scope="module")
def hotset(aws, roads, program, mode, tmp_path_factory) -> Hotset:
    """One that receives from the queues of all roads."""
    queues = [{"queue": road.queue} for road in roads.values()]
    folder, events = tmp_path_factory.mktemp("hotset"), {"sqs": queues}
    running = Hotset(program, folder, aws.moto, mode, events=events)
    yield running
    running.stop()


def eventually(check, seconds: float = 20) -> None:
    """Polls until it is true; what it is at last is in the message."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.02)


def body_of(to: Caller, bucket: str, key: str = KEY) -> bytes | int:
    """The object's bytes, or the status that says why not."""
    answer = to("get_object", Bucket=bucket, Key=key)
    return answer.body if answer.status == 200 else answer.status


@pytest.mark.parametrize("road", ROADS)
def test_what_is_overwritten_behind_hotset_is_read_fresh_after_its_event(aws, roads, hotset, road):
    bucket, through = roads[road].bucket, Caller(hotset)
    assert body_of(through, bucket) == 404
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    eventually(lambda: body_of(through, bucket) == b"first")
    # The event of that write may come after the read, and then it is confirmed once.
    eventually(lambda: "hit" in through("get_object", Bucket=bucket, Key=KEY).cache_status)
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"the second")
    eventually(lambda: body_of(through, bucket) == b"the second")
    aws.s3.delete_object(Bucket=bucket, Key=KEY)
    eventually(lambda: body_of(through, bucket) == 404)
    # The test event, too: every message was acknowledged.
    eventually(lambda: aws.messages(roads[road].queue) == 0)


class Gate(ThreadingHTTPServer):
    """Stands before SQS: notes what hotset could be read as when it deletes, and may refuse it."""

    daemon_threads = True

    def __init__(self, origin: str):
        super().__init__(("127.0.0.1", 0), GateHandler)
        self.origin, self.refuses, self.look, self.seen = origin, False, lambda: None, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class GateHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if "Delete" in self.headers["x-amz-target"]:
            self.server.seen.append(self.server.look())
            if self.server.refuses:
                self.send_error(503)
                return
        host = urlsplit(self.server.origin).netloc
        headers = dict(self.headers.items()) | {"Host": host}
        answer = requests.post(f"{self.server.origin}{self.path}", data=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers.get("content-type", ""))
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_) -> None:
        pass


def test_r11_a_message_is_deleted_when_it_was_applied_and_comes_again_until_then(
    aws, program, mode, tmp_path_factory
):
    gate, (url, arn) = Gate(aws.moto.endpoint), aws.queue()
    bucket = aws.direct(arn)
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    aws.sqs.purge_queue(QueueUrl=url)
    queue = {"queue": url, "endpoint": gate.endpoint, "visibility": "2s", "wait": "1s"}

    def start() -> Hotset:
        folder, events = tmp_path_factory.mktemp("hotset"), {"sqs": [queue]}
        return Hotset(program, folder, aws.moto, mode, events=events)

    running = start()
    through = Caller(running)
    gate.look, gate.refuses = lambda: body_of(through, bucket), True
    assert body_of(through, bucket) == b"first"
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"the second")
    eventually(lambda: gate.seen)
    assert set(gate.seen) == {b"the second"}, "it was applied before it was to be deleted"
    running.kill()
    assert aws.messages(url) > 0, "at least once"

    gate.refuses, gate.look = False, lambda: None
    running = start()
    eventually(lambda: running.metric(APPLIED) > 0)
    eventually(lambda: aws.messages(url) == 0)
    running.stop()
    gate.shutdown()


def test_a_message_that_cannot_be_read_stays_and_the_others_go_on(
    aws, program, mode, tmp_path_factory
):
    dead_url, dead_arn = aws.queue()
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = aws.queue(RedrivePolicy=policy)
    bucket = aws.direct(arn)
    aws.sqs.send_message(QueueUrl=url, MessageBody='{"Token": "made-up-secret", "nothing": "of S3"')
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    queue = {"queue": url, "visibility": "2s", "wait": "1s"}
    folder = tmp_path_factory.mktemp("hotset")
    running = Hotset(program, folder, aws.moto, mode, events={"sqs": [queue]})
    eventually(lambda: running.metric(APPLIED) > 0)
    # The queue's own policy sets it aside.
    eventually(lambda: aws.messages(dead_url) == 1 and aws.messages(url) == 0)
    assert running.metric(UNDECODABLE) == 2
    log = running.process.log.read_text()
    assert "of S3" in log and "made-up-secret" not in log
    running.stop()


def test_a_queue_that_is_not_there_is_said_once_and_received_from_when_it_is(
    aws, program, mode, tmp_path_factory
):
    name = f"q-{uuid.uuid4().hex[:12]}"
    account = "123456789012"
    queue = {"queue": f"{aws.moto.endpoint}/{account}/{name}"}
    folder = tmp_path_factory.mktemp("hotset")
    running = Hotset(program, folder, aws.moto, mode, events={"sqs": [queue]})
    up = f'hotset_event_receiver_up{{source="sqs",name="{name}"}}'
    said = "there is no such queue"
    running.process.wait_until(lambda: said in running.process.log.read_text())
    assert running.metric(up) == 0
    url = aws.sqs.create_queue(QueueName=name)["QueueUrl"]
    eventually(lambda: running.metric(up) == 1)
    assert running.process.log.read_text().count(said) == 1
    bucket = aws.direct(aws.attribute(url, "QueueArn"))
    aws.s3.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    eventually(lambda: running.metric(APPLIED) > 0)
    running.stop()
