"""Fixtures: each real server once a session, hotset in front of it, and one object after another."""

import os
import random
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

# Without the CRT unless a test says otherwise; botocore looks when it is imported.
os.environ["BOTO_DISABLE_CRT"] = "true"

from adapters import CLIENTS
from adapters.base import Missing
from both import Both
from compare import Answer, Caller, agree
from hotset import Hotset
from servers import STARTERS, Server, Unavailable

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]  # AWS_CA_BUNDLE, profiles and endpoints are for somebody else's S3
os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program() -> Path:
    """The hotset binary, from the variable `HOTSET` or where cargo puts it."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: cargo build --locked"
    return path


@pytest.fixture(scope="session", params=STARTERS)
def server(request, tmp_path_factory) -> Server:
    try:
        running = STARTERS[request.param](tmp_path_factory.mktemp(request.param))
    except Unavailable as reason:
        pytest.skip(f"{request.param}: {reason}")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def mode() -> str:
    """`auth.mode` of every hotset here that does not say otherwise."""
    return os.environ.get("HOTSET_MODE", "verify")


@pytest.fixture(scope="session")
def hotset(server, program, mode, tmp_path_factory) -> Hotset:
    running = Hotset(program, tmp_path_factory.mktemp("hotset"), server, mode)
    yield running
    running.stop()


@dataclass
class Pair:
    """The origin and hotset in front of it, with a bucket that only this test uses."""

    server: Server
    hotset: Hotset
    direct: Caller
    through: Caller
    bucket: str
    mirror: str
    """A second bucket: what is written through hotset to `bucket` is written directly here."""

    def put(self, body: bytes, key: str | None = None, **inputs) -> str:
        """An object written behind hotset's back, under a key of its own: hotset reads it cold."""
        key = key or f"o-{uuid.uuid4().hex}"
        done = self.direct("put_object", Bucket=self.bucket, Key=key, Body=body, **inputs)
        assert done.status == 200, done
        return key

    def same(self, check: str, operation: str, **inputs) -> Answer:
        """The call directly, then twice through hotset (cold, then warm): three equal answers."""
        inputs.setdefault("Bucket", self.bucket)
        direct = self.direct(operation, **inputs)
        for _ in ("cold", "warm"):
            through = self.through(operation, **inputs)
            agree(self.server.name, check, direct, through)
        return through

    def write(self, check: str, operation: str, fresh: tuple[str, ...] = (), **inputs) -> Answer:
        """A write, directly to the mirror and through hotset: equal but for `fresh` and names."""
        direct = self.direct(operation, Bucket=self.mirror, **as_mirrored(inputs, self))
        through = self.through(operation, Bucket=self.bucket, **inputs)
        assert through.status == direct.status, f"{check}\n{direct}\n{through}"
        for name in direct.headers.keys() | through.headers.keys():
            if name not in ("last-modified", "content-length", "location"):
                assert through.headers.get(name) == direct.headers.get(name), f"{check}, {name}"
        expected, got = plain(direct.parsed, fresh), plain(through.parsed, fresh)
        assert renamed(got, self) == renamed(expected, self), check
        return through


def as_mirrored(inputs: dict, pair: Pair) -> dict:
    source = inputs.get("CopySource")
    if source is None:
        return inputs
    return inputs | {"CopySource": source | {"Bucket": pair.mirror}}


def plain(parsed, fresh: tuple[str, ...]):
    """The parsed answer without the parts that any two calls differ in."""
    if isinstance(parsed, dict):
        gone = {"ResponseMetadata", "UploadId", "LastModified", "RequestId", "HostId", *fresh}
        return {key: plain(value, fresh) for key, value in parsed.items() if key not in gone}
    if isinstance(parsed, list):
        return [plain(value, fresh) for value in parsed]
    return parsed


def renamed(parsed, pair: Pair) -> str:
    return repr(parsed).replace(pair.mirror, "BUCKET").replace(pair.bucket, "BUCKET")


@pytest.fixture(scope="session")
def callers(server, hotset) -> tuple[Caller, Caller]:
    return Caller(server), Caller(hotset)


@pytest.fixture(scope="module")
def pair(server, hotset, callers) -> Pair:
    direct, through = callers
    name = f"b-{uuid.uuid4().hex[:12]}"
    for bucket in (name, f"{name}-mirror"):
        assert direct("create_bucket", Bucket=bucket).status == 200
    return Pair(server, hotset, direct, through, name, f"{name}-mirror")


@pytest.fixture(scope="session")
def some_bytes() -> bytes:
    """A little over four blocks and a fetch, and not a multiple of anything."""
    return random.Random(1).randbytes(300_007)


@pytest.fixture(scope="session")
def table() -> pyarrow.Table:
    numbers = range(40_000)
    return pyarrow.table({"row": numbers, "name": [f"name-{n % 97}" for n in numbers]})


@pytest.fixture(scope="session")
def parquet(table) -> bytes:
    """The table as a file of several row groups."""
    file = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, file, row_group_size=10_000)
    return file.getvalue().to_pybytes()


@pytest.fixture
def prefix() -> str:
    return f"p-{uuid.uuid4().hex}/"


@pytest.fixture(scope="module")
def open_clients(pair, tmp_path_factory):
    """Each client once for each server, ended with the module."""
    opened: dict[str, Both | Missing] = {}

    def both(name: str) -> Both:
        if name not in opened:
            clients = []
            try:
                for to in (pair.server, pair.hotset):
                    folder = tmp_path_factory.mktemp(name)
                    clients.append(CLIENTS[name](to, pair.bucket, folder))
                opened[name] = Both(*clients)
            except Missing as reason:
                opened[name] = reason
        if isinstance(opened[name], Missing):
            pytest.skip(f"{name}: {opened[name]}")
        return opened[name]

    yield both
    for found in opened.values():
        for client in (found.direct, found.through) if isinstance(found, Both) else ():
            client.close()
