"""Object events by the brokers that MinIO and Ceph publish to, each the real server.

The messages are MinIO's own, sent by the broker's own Python client. The rule's ttl is an hour, so
what is read fresh was told by an event. Kafka is not here: no registry has a broker (see tests/it).
"""

import json
import uuid
from datetime import datetime, timezone

import boto3
import pytest

from brokers import BROKERS, Broker
from compare import Caller
from hotset import Hotset
from servers import REGION, Server, Unavailable, start_moto
from test_sqs import body_of, eventually

KEY = "a b/ü+x.txt"


@pytest.fixture(scope="module")
def moto(tmp_path_factory) -> Server:
    running = start_moto(tmp_path_factory.mktemp("moto"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=BROKERS)
def broker(request, tmp_path_factory) -> Broker:
    try:
        running = BROKERS[request.param](tmp_path_factory.mktemp(request.param))
    except Unavailable as reason:
        pytest.skip(f"{request.param}: {reason}")
    try:
        running.start()
        running.prepare()
        yield running
    finally:
        running.stop()


@pytest.fixture
def start(moto, broker, program, mode, tmp_path_factory):
    """Starts a hotset that receives from the broker; it is ended with the test."""
    started = []

    def start() -> Hotset:
        folder, events = tmp_path_factory.mktemp("hotset"), {broker.name: broker.config()}
        started.append(Hotset(program, folder, moto, mode, events=events))
        eventually(lambda: is_up(broker, started[-1]))
        return started[-1]

    yield start
    for running in started:
        if running.process.child.poll() is None:
            running.stop()


@pytest.fixture
def bucket(moto) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    s3(moto).create_bucket(Bucket=name)
    return name


def s3(moto: Server):
    keys = {"aws_access_key_id": moto.access, "aws_secret_access_key": moto.secret}
    return boto3.client("s3", region_name=REGION, endpoint_url=moto.endpoint, **keys)


def is_up(broker: Broker, running: Hotset) -> bool:
    with_name = f'hotset_event_receiver_up{{source="{broker.name}"'
    return any(
        line.startswith(with_name) and line.endswith(" 1") for line in running.metrics().splitlines()
    )


def applied(broker: Broker, running: Hotset) -> float:
    return running.metric(f'hotset_events_total{{source="{broker.name}",result="applied"}}')


def overwrite(moto: Server, broker: Broker, bucket: str, body: bytes) -> None:
    """Behind hotset's back, and MinIO's event of it."""
    etag = s3(moto).put_object(Bucket=bucket, Key=KEY, Body=body)["ETag"].strip('"')
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    s3_part = {
        "bucket": {"name": bucket},
        "object": {"key": "a+b%2F%C3%BC%2Bx.txt", "size": len(body), "eTag": etag},
    }
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": now,
        "eventName": "s3:ObjectCreated:Put",
        "s3": s3_part,
    }
    whole = {"EventName": record["eventName"], "Key": f"{bucket}/{KEY}", "Records": [record]}
    broker.publish(json.dumps(whole).encode())


def test_what_is_overwritten_behind_hotset_is_read_fresh_after_its_event(
    moto, broker, start, bucket
):
    running = start()
    through = Caller(running)
    s3(moto).put_object(Bucket=bucket, Key=KEY, Body=b"first")
    assert body_of(through, bucket) == b"first"
    assert "hit" in through("get_object", Bucket=bucket, Key=KEY).cache_status
    overwrite(moto, broker, bucket, b"the second")
    eventually(lambda: body_of(through, bucket) == b"the second")
    eventually(lambda: broker.waiting() == 0)


def test_a_message_that_cannot_be_read_is_set_aside_and_the_others_go_on(
    moto, broker, start, bucket
):
    running = start()
    before = broker.unreadable()
    broker.publish(b"nothing of S3")
    overwrite(moto, broker, bucket, b"first")
    eventually(lambda: applied(broker, running) == 1)
    eventually(lambda: broker.waiting() == 0)
    counted = f'hotset_events_total{{source="{broker.name}",result="undecodable"}}'
    assert running.metric(counted) == 1
    if before is not None:
        eventually(lambda: broker.unreadable() == before + 1)


def test_what_came_while_hotset_was_away_is_applied_when_it_is_back(moto, broker, start, bucket):
    start().kill()
    for body in (b"first", b"the second"):
        overwrite(moto, broker, bucket, body)
    running = start()
    eventually(lambda: applied(broker, running) == 2)
    eventually(lambda: broker.waiting() == 0)


def test_a_broker_that_went_away_is_received_from_when_it_is_back(moto, broker, start, bucket):
    running = start()
    through = Caller(running)
    overwrite(moto, broker, bucket, b"first")
    eventually(lambda: body_of(through, bucket) == b"first")
    broker.stop()
    eventually(lambda: not is_up(broker, running))
    broker.start()
    eventually(lambda: is_up(broker, running), 60)
    lines = running.process.log.read_text().splitlines()
    reasons = [line for line in lines if "is not connected: " in line]
    assert reasons and len(reasons) == len(set(reasons)), "each reason is said once"
    overwrite(moto, broker, bucket, b"the second")
    eventually(lambda: body_of(through, bucket) == b"the second")
