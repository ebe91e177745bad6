"""The bucket of somebody's account, directly and through hotset, and requests that are sent as they are written."""

import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (
    "content-length content-range content-type etag x-amz-version-id x-amz-mp-parts-count x-amz-checksum-type "
    "x-amz-checksum-crc64nvme x-amz-checksum-crc32c x-amz-checksum-crc32 x-amz-delete-marker x-amz-bucket-region cache-status"
).split()
"""Headers of an answer that the report has; none names an account."""


@dataclass
class Answer:
    status: int
    code: str
    """Of an error; empty where there is none."""
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def shown(self) -> dict:
        headers = {name: self.headers[name] for name in SHOWN if name in self.headers}
        return {"status": self.status, "code": self.code, "bytes": len(self.body), "headers": headers}


def code_of(body: bytes) -> str:
    found = re.search(rb"<Code>([^<]+)</Code>", body[:4096])
    return found[1].decode() if found and b"<Error" in body[:200] else ""


@dataclass
class Place:
    """An endpoint to which requests are sent, signed by `session` unless they are to be without a signature."""

    endpoint: str
    region: str
    session: boto3.Session
    host: str = ""
    """The Host that requests are sent with, if it is not the endpoint's."""

    @property
    def netloc(self) -> str:
        return urllib.parse.urlsplit(self.endpoint).netloc

    def send(self, method: str, path: str, query: str = "", headers: dict | None = None, signed: bool = True) -> Answer:
        url = f"{self.endpoint}{urllib.parse.quote(path)}" + (f"?{query}" if query else "")
        request = AWSRequest(method, url, headers=headers or {})
        if signed:
            request.context["payload_signing_enabled"] = False
            S3SigV4Auth(self.session.get_credentials(), "s3", self.region).add_auth(request)
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.netloc, timeout=60)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        host = {"Host": self.host} if self.host else {}
        try:
            connection.request(method, target, headers=dict(request.headers.items()) | host)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, code_of(body), found, body)


class Hotset:
    """hotset before the endpoint, with the keys that the SDKs find, for this run alone."""

    def __init__(
        self, program: Path, folder: Path, endpoint: str, region: str, addressing: str = "path", **settings: dict
    ):
        listen, self.admin = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{listen}"
        self.config, self.program = folder / "hotset.yaml", program
        written = {
            "listen": [{"address": f"127.0.0.1:{listen}"}],
            "admin": {"address": f"127.0.0.1:{self.admin}"},
            "origin": {"endpoint": endpoint, "region": region, "addressing": addressing},
            "cache": {"memory": "64MiB", "block": "64KiB", "fetch": "128KiB", "in_flight": "32MiB"},
            "rules": [{"match": "**", "freshness": {"ttl": "1h"}, "negative": "0s"}],
        }
        self.config.write_text(json.dumps(written | settings))
        self.log = (folder / "hotset.log").open("wb")
        command = [program, "serve", "--config", self.config]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((folder / "hotset.log").read_text(errors="replace"))
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def purge(self) -> None:
        url = f"http://127.0.0.1:{self.admin}/api/v1/purge"
        body = json.dumps({"everything": True}).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def checksums(self, algorithm: str) -> int:
        """The number of objects and parts that were compared and had the origin's checksum."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = ("hotset_origin_checksums_total{", f'algorithm="{algorithm.lower()}"', 'outcome="match"')
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        command = [self.program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def program() -> Path:
    """The binary, from the variable `HOTSET` or where cargo puts it."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: cargo build --locked"
    return path
