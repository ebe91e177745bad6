"""conf/aws/lambda/hotset_relay.py: what it posts, what it tries again, and what it reports."""

import hashlib
import hmac
import ipaddress
import json
import os
import ssl
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from processes import free_port
from servers import REGION, start_moto
from webhooks import DROP, HANG, Webhook

sys.path.append(str(Path(__file__).resolve().parents[2] / "conf/aws/lambda"))

import hotset_relay  # noqa: E402

SECRET = "a made-up secret of a webhook"


class Context:
    """What Lambda hands to a function, as far as the relay looks at it."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - time.monotonic()) * 1000)


# Until it gives up, and for what is expected to end by itself.
SHORT, LONG = hotset_relay.RESERVE + 1, 60


@pytest.fixture
def webhook():
    """Starts webhooks, each of which answers as it is told to."""
    started = []

    def start(*answers, **options) -> Webhook:
        started.append(Webhook(*answers, **options))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def invoke(monkeypatch):
    """Calls the function as Lambda does, for these webhooks."""
    hotset_relay.secrets.clear()

    def call(event: dict, *urls: str, seconds: float = LONG, **variables: str):
        variables = {"HOTSET_SECRET": SECRET} | variables
        for name, value in ({"HOTSET_URLS": ", ".join(urls)} | variables).items():
            monkeypatch.setenv(name, value)
        return hotset_relay.handler(event, Context(seconds))

    return call


def s3_event(key: str = "a+b%2F%C3%BC") -> dict:
    s3 = {"bucket": {"name": "photos"}, "object": {"key": key, "size": 5, "sequencer": "0A"}}
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    return {"Records": [record | {"s3": s3}]}


EVENTBRIDGE = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "photos"}, "object": {"key": "ü", "size": 5}},
}


def batch(*bodies: str) -> dict:
    """As an event source mapping hands on messages of SQS, `m0`, `m1`, ..."""
    records = [
        {"messageId": f"m{n}", "eventSource": "aws:sqs", "body": body, "attributes": {}}
        for n, body in enumerate(bodies)
    ]
    return {"Records": records}


def failed(answer: dict) -> list[str]:
    assert answer.keys() == {"batchItemFailures"}
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_the_signature_is_as_openssl_computes_it():
    # printf '1795402211.{"Records":[]}' | openssl dgst -sha256 -hmac 'a made-up old secret'
    expected = "v1=ebaf549cc16629931b729874cb7ec5edbd0fe9390d8df6554f896b2e4098d05c"
    got = hotset_relay.sign(b"a made-up old secret", "1795402211", b'{"Records":[]}')
    assert got == expected


def test_each_request_is_signed_over_its_own_bytes_now(webhook, invoke):
    replica = webhook()
    before = int(time.time())
    assert invoke(batch("one", "zwei ü"), replica.url) == {"batchItemFailures": []}
    assert replica.bodies == [b"one", "zwei ü".encode()]
    for request in replica.requests:
        assert request.target == "/events"
        timestamp = request.headers["x-hotset-timestamp"]
        assert before <= int(timestamp) <= time.time()
        text = timestamp.encode() + b"." + request.body
        digest = hmac.digest(SECRET.encode(), text, hashlib.sha256).hex()
        assert request.headers["x-hotset-signature"] == f"v1={digest}"
        assert request.headers["content-type"] == "application/json"


SNS_RECORD = {
    "EventSource": "aws:sns",
    "EventVersion": "1.0",
    "Sns": {"Type": "Notification", "Message": json.dumps(s3_event())},
}
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}


@pytest.mark.parametrize(
    "event, posted",
    [
        pytest.param(s3_event(), [s3_event()], id="S3"),
        pytest.param(EVENTBRIDGE, [EVENTBRIDGE], id="EventBridge"),
        pytest.param(TEST_EVENT, [TEST_EVENT], id="S3's test"),
        pytest.param({"Records": [SNS_RECORD, SNS_RECORD]}, [s3_event()] * 2, id="SNS"),
        pytest.param(batch(json.dumps(EVENTBRIDGE)), [EVENTBRIDGE], id="SQS"),
    ],
)
def test_every_replica_gets_what_the_function_is_invoked_with(webhook, invoke, event, posted):
    replicas = webhook(), webhook()
    answer = invoke(event, *[replica.url for replica in replicas])
    assert answer in (None, {"batchItemFailures": []})
    for replica in replicas:
        assert [json.loads(body) for body in replica.bodies] == posted


@pytest.mark.parametrize("event", [{"source": "aws.ec2"}, {"Records": []}, {"Records": [{}]}, {}])
def test_an_invocation_by_anybody_else_is_an_error(webhook, invoke, event):
    replica = webhook()
    with pytest.raises(hotset_relay.UnknownEvent):
        invoke(event, replica.url)
    assert replica.requests == []


@pytest.mark.parametrize("trouble", [500, 502, 503, 429, 408, 409, DROP])
def test_what_may_pass_is_tried_again_until_it_is_taken(webhook, invoke, trouble):
    replica = webhook(trouble, trouble)
    assert invoke(s3_event(), replica.url) is None
    assert len(replica.requests) == 3
    assert len(set(replica.bodies)) == 1


def test_a_replica_that_does_not_answer_is_asked_again(webhook, invoke):
    replica = webhook(HANG)
    assert invoke(s3_event(), replica.url, HOTSET_TIMEOUT="0.2") is None
    assert len(replica.requests) == 2


@pytest.mark.parametrize("no", [400, 401, 403, 404, 413, 302])
def test_what_is_refused_is_not_tried_again_and_lambda_is_told(webhook, invoke, no):
    replica = webhook(no)
    with pytest.raises(hotset_relay.NotRelayed):
        invoke(s3_event(), replica.url)
    assert [request.target for request in replica.requests] == ["/events"]


def test_of_a_batch_only_what_was_not_taken_comes_again(webhook, invoke):
    replica = webhook(200, 400, 503)
    assert failed(invoke(batch("a", "b", "c", "d"), replica.url)) == ["m1"]
    assert replica.bodies == [b"a", b"b", b"c", b"d", b"c"]


def test_a_message_fails_if_any_replica_did_not_take_it(webhook, invoke):
    replicas = webhook(400), webhook(200, 200, 400)
    urls = [replica.url for replica in replicas]
    assert failed(invoke(batch("a", "b", "c"), *urls)) == ["m0", "m2"]


def test_of_two_replicas_one_is_down_the_other_one_hears_everything_once(webhook, invoke, capsys):
    replica, down = webhook(), f"http://127.0.0.1:{free_port()}/"
    answer = invoke(batch("a", "b"), down, replica.url, seconds=SHORT)
    assert failed(answer) == ["m0", "m1"]
    assert replica.bodies == [b"a", b"b"]
    assert f"{down.rstrip('/')} did not take 2 of 2 messages" in capsys.readouterr().out
    with pytest.raises(hotset_relay.NotRelayed):
        invoke(s3_event(), replica.url, down, seconds=SHORT)


def test_without_time_nothing_is_posted_and_everything_comes_again(webhook, invoke):
    replica = webhook()
    answer = invoke(batch("a", "b"), replica.url, seconds=hotset_relay.RESERVE / 2)
    assert failed(answer) == ["m0", "m1"]
    assert replica.requests == []


WRONG = [
    ({"HOTSET_URLS": ""}, "HOTSET_URLS"),
    ({"HOTSET_URLS": "hotset:9002"}, "HOTSET_URLS"),
    ({"HOTSET_URLS": "ftp://hotset/"}, "HOTSET_URLS"),
    ({"HOTSET_URLS": "http://hotset:99999/"}, "HOTSET_URLS"),
    ({"HOTSET_URLS": "http://user:made-up-password@hotset/"}, "HOTSET_URLS"),
    ({"HOTSET_URLS": "http://hotset/ http://hotset/"}, "HOTSET_URLS"),
    ({"HOTSET_SECRET": ""}, "HOTSET_SECRET"),
    ({"HOTSET_SECRET": "made-up-passwor"}, "HOTSET_SECRET"),
    ({"HOTSET_SECRET_ARN": "arn:aws:secretsmanager:::secret:x"}, "HOTSET_SECRET"),
    ({"HOTSET_TIMEOUT": "soon"}, "HOTSET_TIMEOUT"),
    ({"HOTSET_TIMEOUT": "0"}, "HOTSET_TIMEOUT"),
    ({"HOTSET_TIMEOUT": "nan"}, "HOTSET_TIMEOUT"),
    ({"HOTSET_CA_FILE": "/no/such/file"}, "HOTSET_CA_FILE"),
]


@pytest.mark.parametrize("variables, named", WRONG)
def test_a_wrong_variable_is_named_and_no_secret_is_told(invoke, capsys, variables, named):
    with pytest.raises(hotset_relay.ConfigError, match=named) as raised:
        invoke(s3_event(), "https://127.0.0.1/", **variables)
    assert "made-up" not in f"{raised.getrepr(style='native').reprcrash} {capsys.readouterr()}"


def test_neither_the_secret_nor_a_body_is_logged(webhook, invoke, capsys):
    replica = webhook(400, DROP, 503, HANG)
    bodies = [f"private-{n}" for n in range(4)]
    invoke(batch(*bodies), replica.url, seconds=SHORT, HOTSET_TIMEOUT="0.2")
    told = "".join(capsys.readouterr())
    assert "did not take 1 of 4" in told
    assert SECRET not in told and "private" not in told
    environment = {"HOTSET_URLS": replica.url, "HOTSET_SECRET": SECRET}
    assert SECRET not in repr(hotset_relay.config_of(environment))


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    running = start_moto(tmp_path_factory.mktemp("moto"))
    yield running
    running.stop()


@pytest.fixture
def secrets(moto, monkeypatch):
    """Secrets Manager, where boto3 finds it as the function would."""
    variables = {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto.endpoint,
        "AWS_ACCESS_KEY_ID": moto.access,
        "AWS_SECRET_ACCESS_KEY": moto.secret,
        "AWS_DEFAULT_REGION": REGION,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name=os.urandom(8).hex(), SecretString=f"{SECRET}\n")["ARN"]
    return client, arn


def signed_with(secret: str, request) -> bool:
    text = request.headers["x-hotset-timestamp"].encode() + b"." + request.body
    digest = hmac.digest(secret.encode(), text, hashlib.sha256).hex()
    return request.headers["x-hotset-signature"] == f"v1={digest}"


def test_the_secret_is_had_from_secrets_manager_and_asked_for_again_when_it_is_refused(
    webhook, invoke, secrets
):
    client, arn = secrets
    names = {"HOTSET_SECRET": "", "HOTSET_SECRET_ARN": arn}
    replica = webhook(200, 200, 403)
    invoke(s3_event(), replica.url, **names)
    new = "another made-up secret"
    client.put_secret_value(SecretId=arn, SecretString=new)
    invoke(s3_event(), replica.url, **names)
    with pytest.raises(hotset_relay.NotRelayed):
        invoke(s3_event(), replica.url, **names)
    invoke(s3_event(), replica.url, **names)
    used = [SECRET if signed_with(SECRET, request) else new for request in replica.requests]
    assert used == [SECRET, SECRET, SECRET, new]
    assert signed_with(new, replica.requests[-1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Key and certificate of 127.0.0.1 in one file, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hotset")])
    now, address = datetime.now(timezone.utc), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hotset.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def test_a_replica_shows_a_certificate_of_the_authority_that_is_named(webhook, invoke, certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    replica = webhook(tls=tls)
    assert invoke(s3_event(), replica.url, HOTSET_CA_FILE=str(certificate)) is None
    assert len(replica.requests) == 1
    with pytest.raises(hotset_relay.NotRelayed):
        invoke(s3_event(), replica.url, HOTSET_CA_FILE="", seconds=SHORT)
    assert len(replica.requests) == 1
