"""The same call made to the origin and through hotset, compared byte for byte, header for header.

An `Answer` is what came over the wire. Where hotset's must differ from the origin's, there is a row
in `departures.py` that says what hotset answers instead; a row whose origin has come to agree with
hotset is an error, so the table stays true.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3
import requests
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.exceptions import ClientError

from departures import DEPARTURES, ERROR_TEXT, NOT_REPLAYED
from servers import REGION, Endpoint

# Made afresh for each answer, or about the connection and not the object.
FRESH = {
    "cache-status",
    "connection",
    "date",
    "keep-alive",
    "server",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amzn-requestid",
}
# Of an error's XML, likewise.
FRESH_IN_ERRORS = {"RequestId", "RequestID", "HostId"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    parsed: dict[str, Any] = field(default_factory=dict, compare=False)
    raw_headers: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def code(self) -> str | None:
        """The error's code, where the body is S3's error XML."""
        return error_fields(self.body).get("Code") if self.status >= 400 else None

    @property
    def cache_status(self) -> str:
        return self.raw_headers.get("cache-status", "")

    def comparable(self) -> tuple:
        if self.status < 400:
            return self.status, self.headers, self.body
        # The ids differ in length, and so do the bodies, and what a HEAD says of them.
        headers = {k: v for k, v in self.headers.items() if k != "content-length"}
        fields = error_fields(self.body)
        left_out = FRESH_IN_ERRORS | ERROR_TEXT.keys()
        body = {k: v for k, v in fields.items() if k not in left_out} if fields else self.body
        return self.status, headers, body

    def __str__(self) -> str:
        body = self.body if len(self.body) <= 600 else self.body[:60] + b"..."
        lines = [f"{self.status}, {len(self.body)} bytes of body: {body!r}"]
        lines += [f"  {name}: {value}" for name, value in sorted(self.headers.items())]
        return "\n".join(lines)


def answer(status: int, headers: dict[str, str], body: bytes, parsed=None) -> Answer:
    lower = {name.lower(): value for name, value in headers.items()}
    kept = {k: v for k, v in lower.items() if k not in FRESH and k not in NOT_REPLAYED}
    return Answer(status, kept, body, parsed or {}, lower)


def error_fields(body: bytes) -> dict[str, str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return {}
    return {child.tag: child.text or "" for child in root} if root.tag == "Error" else {}


class Caller:
    """boto3 against one endpoint; each call gives the answer as it came over the wire."""

    def __init__(self, to: Endpoint, **config):
        s3 = {"addressing_style": "path"} | config.pop("s3", {})
        # Presigned URLs too: in us-east-1, boto3 makes SigV2 of them on its own.
        config = {"signature_version": "s3v4"} | config
        self.client = boto3.client(
            "s3",
            endpoint_url=to.endpoint,
            aws_access_key_id=to.access,
            aws_secret_access_key=to.secret,
            region_name=REGION,
            config=Config(s3=s3, retries={"total_max_attempts": 1}, **config),
        )
        self.extra: dict[str, str] = {}
        self.seen: dict[str, Any] = {}
        self.client.meta.events.register_first("before-sign.s3", self._add_headers)
        self.client.meta.events.register_first("before-parse.s3", self._keep)

    def _add_headers(self, request: AWSRequest, **_) -> None:
        for name, value in self.extra.items():
            request.headers[name] = value

    def _keep(self, response_dict: dict, **_) -> None:
        self.seen = response_dict

    def __call__(self, operation: str, headers: dict[str, str] | None = None, **inputs) -> Answer:
        """One call, with `headers` added before it is signed. Errors are answers too."""
        self.extra, self.seen = headers or {}, {}
        try:
            parsed = getattr(self.client, operation)(**inputs)
        except ClientError as error:
            parsed = error.response
        finally:
            self.extra = {}
        body = self.seen["body"]
        # A streamed body arrives when it is read.
        body = body if isinstance(body, bytes) else parsed["Body"].read()
        return answer(self.seen["status_code"], self.seen["headers"], body, parsed)


def get_by_address(url: str, **headers: str) -> requests.Response:
    """Gets a URL of this machine, whatever the host's name: a bucket's own is in no DNS here."""
    parts = urlsplit(url)
    here = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity"} | headers
    return requests.get(here, headers=headers, timeout=30)


def differences(direct: Answer, through: Answer) -> list[str]:
    """Each one as `what: direct's -> hotset's`."""
    (status, headers, body), (new_status, new_headers, new_body) = (
        direct.comparable(),
        through.comparable(),
    )
    found = [] if status == new_status else [f"status: {status} -> {new_status}"]
    for name in sorted(headers.keys() | new_headers.keys()):
        if headers.get(name) != new_headers.get(name):
            found.append(f"{name}: {headers.get(name)} -> {new_headers.get(name)}")
    if body != new_body:
        found.append(f"body: {shortened(body)} -> {shortened(new_body)}")
    return found


def shortened(body: bytes | dict) -> str:
    return repr(body) if len(body) <= 60 else f"{len(body)} bytes"


def agree(server: str, check: str, direct: Answer, through: Answer) -> None:
    """`through` is what the origin answered, or what the departures' row for this check says."""
    row = DEPARTURES.row(server, check)
    if row is None:
        found = differences(direct, through)
        assert not found, (
            f"{server}, {check}: {'; '.join(found)}"
            f"\n--- direct\n{direct}\n--- through hotset\n{through}"
        )
        return
    wrong = row.differs_from(through)
    assert not wrong, f"{server}, {check}: {wrong} (the row in departures.py)\n{through}"
    assert differences(direct, through), (
        f"{server}, {check}: hotset and the origin agree, so its row in departures.py must go"
    )
