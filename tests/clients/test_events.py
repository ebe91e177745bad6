"""Real notifications over HTTP: what is written behind hotset's back is read fresh, although its ttl is an hour.

moto's S3 publishes to its SNS, which posts to hotset; Ceph's gateway posts by itself, at once or from a queue.
"""

import base64
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from compare import Caller
from hotset import Hotset
from processes import free_port
from test_aws_relay import Context, batch, hotset_relay, s3_event

SECONDS = 120
"""A queue of Ceph's is first looked at after half a minute."""

USER = "sender:made-up-password"
SECRET = "a made-up secret"
KEYS = ["plain", "a b/\u00fc+x%41.txt"]


class Notified:
    """A hotset that is told, of buckets that tell it."""

    def __init__(self, server, program, folder, mode):
        self.port = free_port()
        token = "Basic " + base64.b64encode(USER.encode()).decode()
        webhook = {"address": f"127.0.0.1:{self.port}", "tokens": [token], "secrets": [SECRET]}
        self.server = server
        self.hotset = Hotset(program, folder, server, mode, {"webhook": webhook})
        self.direct, self.through = Caller(server), Caller(self.hotset)
        self.sns = boto3.client(
            "sns",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access,
            aws_secret_access_key=server.secret,
            region_name="default" if server.name == "radosgw" else "us-east-1",
        )

        self.sns.meta.events.register("before-sign.sns", say_it_was_tls)

    def bucket(self, persistent: bool = False) -> str:
        """A new one, whose changes are told from now on."""
        name = f"told-{uuid.uuid4().hex[:12]}"
        assert self.direct("create_bucket", Bucket=name).status == 200
        topic = self.topic(name, f"http://{USER}@127.0.0.1:{self.port}/", persistent)
        told = {
            "Id": "hotset",
            "TopicArn": topic,
            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        }
        wanted = {"TopicConfigurations": [told]}
        set_up = self.direct(
            "put_bucket_notification_configuration", Bucket=name, NotificationConfiguration=wanted
        )
        assert set_up.status == 200, set_up
        return name

    def topic(self, name: str, url: str, persistent: bool) -> str:
        if self.server.name == "radosgw":
            attributes = {"push-endpoint": url, "persistent": str(persistent).lower()}
            return self.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        topic = self.sns.create_topic(Name=name)["TopicArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url)
        return topic

    def put(self, bucket: str, key: str, body: bytes) -> None:
        done = self.direct("put_object", Bucket=bucket, Key=key, Body=body)
        assert done.status == 200, done

    def read(self, bucket: str, key: str):
        return self.through("get_object", Bucket=bucket, Key=key)

    def messages(self, outcome: str = "accepted") -> int:
        series = f'hotset_webhook_requests_total{{outcome="{outcome}"}}'
        return int(self.hotset.metric(series))


@pytest.fixture(scope="module")
def notified(server, program, mode, tmp_path_factory) -> Notified:
    running = Notified(server, program, tmp_path_factory.mktemp("notified"), mode)
    yield running
    refused = {what: running.messages(what) for what in ("forged", "undecodable", "unauthenticated")}
    running.hotset.stop()
    assert not any(refused.values()), refused


def say_it_was_tls(request, **_) -> None:
    request.headers["X-Forwarded-Proto"] = "https"


def until(condition, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_overwritten_behind_it_is_read_fresh(notified, key):
    bucket = notified.bucket()
    notified.put(bucket, key, b"old")
    for _ in range(2):
        assert notified.read(bucket, key).body == b"old"
    for number in range(5):
        body = b"new %d" % number
        # The server has told by the time that it answers.
        notified.put(bucket, key, body)
        assert notified.read(bucket, key).body == body
        assert "hit" in notified.read(bucket, key).cache_status
    assert notified.through("head_object", Bucket=bucket, Key=key).headers["content-length"] == "5"


def test_what_is_deleted_behind_it_is_gone_and_what_is_created_is_there(notified):
    bucket = notified.bucket()
    notified.put(bucket, "key", b"old")
    assert notified.read(bucket, "key").body == b"old"
    assert notified.direct("delete_object", Bucket=bucket, Key="key").status == 204
    assert notified.read(bucket, "key").status == 404
    notified.put(bucket, "key", b"new")
    assert notified.read(bucket, "key").body == b"new"


def test_what_the_relay_signs_is_believed(notified, monkeypatch):
    if notified.server.name != "moto":
        pytest.skip("once is enough")
    bucket = f"relayed-{uuid.uuid4().hex[:12]}"
    assert notified.direct("create_bucket", Bucket=bucket).status == 200
    notified.put(bucket, "key", b"old")
    assert notified.read(bucket, "key").body == b"old"
    notified.put(bucket, "key", b"new")
    monkeypatch.setenv("HOTSET_URLS", f"http://127.0.0.1:{notified.port}/")
    monkeypatch.setenv("HOTSET_SECRET", SECRET)
    hotset_relay.secrets.clear()
    event = s3_event("key")
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    answer = hotset_relay.handler(batch(json.dumps(event)), Context(30))
    assert answer == {"batchItemFailures": []}
    assert notified.read(bucket, "key").body == b"new"


def test_a_bucket_that_does_not_tell_is_read_old(notified):
    """That what the other tests see comes of events."""
    bucket = f"silent-{uuid.uuid4().hex[:12]}"
    assert notified.direct("create_bucket", Bucket=bucket).status == 200
    notified.put(bucket, "key", b"old")
    assert notified.read(bucket, "key").body == b"old"
    notified.put(bucket, "key", b"new")
    assert notified.read(bucket, "key").body == b"old"


def test_a_write_through_hotset_is_told_and_changes_nothing(notified):
    bucket = notified.bucket()
    before = notified.messages()
    done = notified.through("put_object", Bucket=bucket, Key="key", Body=b"mine")
    assert done.status == 200
    until(lambda: notified.messages() > before)
    for _ in range(2):
        assert notified.read(bucket, "key").body == b"mine"


def test_r25_a_queue_that_repeats_and_disorders_ends_at_the_last_write(notified):
    """Reads go on meanwhile; none of them is of a version that was never written."""
    if notified.server.name != "radosgw":
        pytest.skip("only Ceph has such a queue")
    bucket, writes = notified.bucket(persistent=True), 60
    bodies = [b"version %03d" % number for number in range(writes)]
    notified.put(bucket, "key", bodies[0])
    assert notified.read(bucket, "key").body == bodies[0]
    before = notified.messages()

    def read(_) -> bytes:
        return notified.through.client.get_object(Bucket=bucket, Key="key")["Body"].read()

    with ThreadPoolExecutor(4) as pool:
        reads = pool.map(read, range(200))
        for body in bodies[1:]:
            notified.put(bucket, "key", body)
        assert set(reads) <= set(bodies)
    until(lambda: notified.messages() - before >= writes - 1)
    until(lambda: notified.read(bucket, "key").body == bodies[-1])
    # What comes late or again does not bring back what was before.
    for _ in range(20):
        assert notified.read(bucket, "key").body == bodies[-1]
        time.sleep(0.1)
