"""Relays S3's events to hotset's webhook: a function for AWS Lambda, of Python's standard library alone.

It takes what Lambda is invoked with by S3, by SNS, by EventBridge, or by SQS (whose messages may hold any of these),
and posts each message as it is to every replica of hotset, signed:

    x-hotset-timestamp: <seconds since 1970>
    x-hotset-signature: v1=<hex of HMAC-SHA-256(secret, timestamp "." body)>

Invariant: a message counts as relayed once every replica answered 2xx to it. Of a batch of SQS only the others are
reported as failed (`ReportBatchItemFailures`); any other invocation raises, so that Lambda tries again. What is posted
twice does no harm. Neither the secret nor a body is ever logged.

    HOTSET_URLS         http(s) URLs of the replicas' webhooks, with commas between them
    HOTSET_SECRET       the secret that hotset has in events.webhook.secrets, or
    HOTSET_SECRET_ARN   where Secrets Manager has it, as plain text
    HOTSET_CA_FILE      PEM of the authorities of the replicas' certificates, instead of the public ones
    HOTSET_TIMEOUT      seconds that one answer may take, 5 if not set
"""

import hashlib
import hmac
import http.client
import json
import os
import random
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

# hotset refuses shorter ones, too.
SHORTEST_SECRET = 16
# A signature is good once (409), and the next attempt has a new one; the others say "later" themselves.
AGAIN = {408, 409, 425, 429}
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
# Seconds of an invocation that are kept for telling Lambda what was not taken.
RESERVE = 1.0

# Secrets by their ARN, kept while Lambda keeps the process.
secrets: dict[str, bytes] = {}


class ConfigError(Exception):
    """A variable of the environment is wrong; the text names it."""


class UnknownEvent(Exception):
    """The function was invoked with something that is no event of S3's."""


class NotRelayed(Exception):
    """Some replica did not take a message, so that Lambda has to try again."""


@dataclass(frozen=True)
class Message:
    body: bytes
    id: str | None = None
    """Of SQS, which wants to know it if the message is to come again."""


@dataclass(frozen=True)
class Config:
    urls: list[SplitResult]
    secret: bytes = field(repr=False)
    tls: ssl.SSLContext | None
    timeout: float
    """Seconds of one attempt."""


def handler(event: dict, context) -> dict | None:
    """What Lambda calls. The answer means something to SQS alone."""
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE
    messages = messages_of(event)
    config = config_of(os.environ)
    failed = relay(messages, config, deadline)
    if messages and messages[0].id is not None:
        return {"batchItemFailures": [{"itemIdentifier": message.id} for message in failed]}
    if failed:
        raise NotRelayed(f"{len(failed)} of {len(messages)} messages were not taken by every replica")
    return None


def messages_of(event: dict) -> list[Message]:
    """The messages that an invocation holds, whoever invoked."""
    records = event.get("Records")
    if not isinstance(records, list):
        if event.get("source") == "aws.s3" or event.get("Event") == "s3:TestEvent":
            return [Message(as_json(event))]
        raise UnknownEvent(f"neither records nor an event of S3's, but {sorted(event)}")
    # SNS has a spelling of its own.
    sources = {record.get("eventSource") or record.get("EventSource") for record in records}
    if sources == {"aws:sqs"}:
        return [Message(record["body"].encode(), record["messageId"]) for record in records]
    if sources == {"aws:sns"}:
        return [Message(record["Sns"]["Message"].encode()) for record in records]
    if sources == {"aws:s3"}:
        return [Message(as_json(event))]
    raise UnknownEvent(f"records of {sorted(map(str, sources))}")


def as_json(event: dict) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def config_of(environ) -> Config:
    urls = [webhook(url) for url in re.split(r"[\s,]+", environ.get("HOTSET_URLS", "")) if url]
    if not urls:
        raise ConfigError("HOTSET_URLS is not set: it lists the webhooks of hotset's replicas")
    if len(set(urls)) < len(urls):
        raise ConfigError("HOTSET_URLS names a webhook twice")
    ca_file = environ.get("HOTSET_CA_FILE") or None
    try:
        timeout = float(environ.get("HOTSET_TIMEOUT") or 5)
    except ValueError:
        timeout = 0
    if not 0 < timeout <= 900:
        raise ConfigError("HOTSET_TIMEOUT is no number of seconds")
    try:
        tls = any(url.scheme == "https" for url in urls)
        context = ssl.create_default_context(cafile=ca_file) if tls else None
    except OSError as error:
        raise ConfigError(f"HOTSET_CA_FILE: {error}") from None
    return Config(urls, secret_of(environ), context, timeout)


def webhook(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        right = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        right = False
    # A password in it would be logged.
    if not right or "@" in url.netloc or url.fragment:
        raise ConfigError("HOTSET_URLS: one of them is not like https://host:9002/path")
    return url


def secret_of(environ) -> bytes:
    plain, arn = environ.get("HOTSET_SECRET"), environ.get("HOTSET_SECRET_ARN")
    if bool(plain) == bool(arn):
        raise ConfigError("one of HOTSET_SECRET and HOTSET_SECRET_ARN must be set")
    name = "HOTSET_SECRET" if plain else "HOTSET_SECRET_ARN"
    secret = plain.encode() if plain else secrets.get(arn) or secret_at(arn)
    if len(secret) < SHORTEST_SECRET:
        raise ConfigError(f"{name}: the secret is shorter than {SHORTEST_SECRET} bytes")
    if arn:
        secrets[arn] = secret
    return secret


def secret_at(arn: str) -> bytes:
    import boto3  # in Lambda's runtime; nothing else here needs it

    answer = boto3.client("secretsmanager").get_secret_value(SecretId=arn)
    if "SecretString" not in answer:
        raise ConfigError("HOTSET_SECRET_ARN: the secret is not text")
    return answer["SecretString"].strip().encode()


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def relay(messages: list[Message], config: Config, deadline: float) -> list[Message]:
    """Posts to all replicas side by side; the messages that one of them or more did not take."""
    replicas = [Replica(url, config) for url in config.urls]
    with ThreadPoolExecutor(len(replicas)) as threads:
        failed = list(threads.map(lambda replica: replica.deliver(messages, deadline), replicas))
    if any(replica.status in (401, 403) for replica in replicas):
        secrets.clear()  # it may have been replaced: the next invocation asks again
    return [message for message in messages if any(message in some for some in failed)]


class Replica:
    """One hotset, over one connection."""

    def __init__(self, url: SplitResult, config: Config):
        self.config = config
        self.name = f"{url.scheme}://{url.netloc}"
        self.target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        # Without a port it is that of the scheme.
        self.connection = (
            http.client.HTTPSConnection(url.hostname, url.port, context=config.tls)
            if url.scheme == "https"
            else http.client.HTTPConnection(url.hostname, url.port)
        )
        self.status: int | None = None
        self.said = "no time was left"
        """What became of the last attempt that failed."""

    def deliver(self, messages: list[Message], deadline: float) -> list[Message]:
        """Posts until all are taken or refused or `deadline` (of `time.monotonic`) comes; those not taken."""
        waiting, refused, rounds = messages, [], 0
        while True:
            waiting, no = self.round(waiting, deadline)
            refused += no
            # As long as the longest pause at most, and never all replicas at the same moment.
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**rounds) * random.uniform(0.5, 1)
            rounds += 1
            if not waiting or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        self.connection.close()
        failed = refused + waiting
        if failed:
            print(
                f"{self.name} did not take {len(failed)} of {len(messages)} messages"
                f" in {rounds} rounds: {self.said}"
            )
        return failed

    def round(self, messages: list[Message], deadline: float) -> tuple[list, list]:
        """Posts each message once; which of them to try again, and which never."""
        again, refused = [], []
        for at, message in enumerate(messages):
            try:
                status = self.post(message.body, deadline)
            except (OSError, http.client.HTTPException) as error:
                # The others would fare the same: it is away, or there is no time left.
                self.connection.close()
                self.said = f"{type(error).__name__}: {error}"
                return again + messages[at:], refused
            if 200 <= status < 300:
                continue
            self.status, self.said = status, f"it answered {status}"
            (again if status >= 500 or status in AGAIN else refused).append(message)
        return again, refused

    def post(self, body: bytes, deadline: float) -> int:
        """One attempt, with a signature of its own; the status."""
        left = min(self.config.timeout, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("no time was left")
        self.connection.timeout = left
        if self.connection.sock:
            self.connection.sock.settimeout(left)
        timestamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "x-hotset-timestamp": timestamp,
            "x-hotset-signature": sign(self.config.secret, timestamp, body),
        }
        self.connection.request("POST", self.target, body, headers)
        response = self.connection.getresponse()
        if len(response.read(65_536)) == 65_536:
            self.connection.close()  # more than a word: not worth reading to its end
        return response.status
