"""Fixtures: an origin for all, and fleets of three hotsets behind routers of each kind."""

import os
import socket
from pathlib import Path

import pytest
from fleet import DOMAIN, ENGINES, KEYS, REGION, ROOT, Fleet, Origin

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}

import boto3
from botocore.config import Config


@pytest.fixture(scope="session")
def program() -> Path:
    """The hotset binary, from the variable `HOTSET` or where cargo puts it."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: cargo build --locked --features receivers"
    return path.resolve()


@pytest.fixture(scope="session")
def origin(program, tmp_path_factory) -> Origin:
    running = Origin(program, tmp_path_factory.mktemp("origin")).wait()
    yield running
    running.kill()


def needed(*engines: str) -> list[str]:
    for engine in engines:
        if not ENGINES[engine][1]:
            pytest.skip(f"{engine} is not installed (`.ci/setup router`)")
    return [*engines]


@pytest.fixture
def fleet(program, origin, tmp_path):
    """Behind two of Debian's HAProxy, for tests that break it."""
    running = Fleet(program, tmp_path, origin, needed("haproxy", "haproxy"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def peaceful(program, origin, tmp_path_factory):
    """Behind one router of each kind that is here, for tests that break nothing."""
    engines = [name for name, (_, found) in ENGINES.items() if found]
    running = Fleet(program, tmp_path_factory.mktemp("fleet"), origin, engines)
    yield running
    running.stop()


@pytest.fixture(params=ENGINES)
def router(request, peaceful):
    (engine,) = needed(request.param)
    return next(router for router in peaceful.routers if router.name.rpartition("-")[0] == engine)


@pytest.fixture(autouse=True)
def names_below_the_domain(monkeypatch):
    """`bucket.s3.local` is this machine."""
    resolve = socket.getaddrinfo

    def own(host, *more, **named):
        return resolve("127.0.0.1" if str(host).endswith(DOMAIN) else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", own)


@pytest.fixture
def s3(router):
    """A client that signs, by addressing style."""

    def client(style: str):
        endpoint = router.endpoint.replace("127.0.0.1", DOMAIN)
        config = Config(
            signature_version="s3v4", s3={"addressing_style": style}, retries={"total_max_attempts": 2}
        )
        keys = {"aws_access_key_id": KEYS[0], "aws_secret_access_key": KEYS[1]}
        return boto3.client("s3", endpoint_url=endpoint, region_name=REGION, config=config, **keys)

    return client
