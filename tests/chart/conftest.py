"""Fixtures: Helm 3 and Helm 4, the binary, and every set of values in values/."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from helms import HERE, Helm3, Helm4, Missing

ROOT = HERE.parents[1]


def values(name: str) -> dict:
    return yaml.safe_load((HERE / "values" / f"{name}.yaml").read_text())


NAMES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))


@pytest.fixture(scope="session")
def helm3() -> Helm3:
    try:
        return Helm3()
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def helm4() -> Helm4:
    return Helm4()


@pytest.fixture(scope="session")
def program() -> Path:
    """The hotset binary, from the variable `HOTSET` or where cargo puts it."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: cargo build --locked --features receivers"
    return path.resolve()


IDENTITIES = json.dumps(
    {
        "identities": [
            {
                "name": "reader",
                "access_key": "AKREADER",
                "secret_key": "made-up-secret-of-reader",
                "allow": [{"actions": ["read", "list"], "resources": ["**"]}],
            }
        ]
    }
)


@pytest.fixture(scope="session")
def secrets(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Those that the sets of values say exist."""
    pair, renewed = (certificate(tmp_path_factory.mktemp("certificate")) for _ in range(2))
    return {
        "s3-keys": {"access-key-id": "AK", "secret-access-key": "sk", "session-token": "st"},
        "identities": {"identities.yaml": IDENTITIES},
        "admin": {"token": "made-up-token-of-admin"},
        "webhook": {"token": "made-up-token-of-webhook"},
        "origin-certificate": pair,
        "objects-tls": pair,
        "renewed": renewed,
        "reader": {"access-key-id": "AKREADER", "secret-access-key": "made-up-secret-of-reader"},
    }


def certificate(folder: Path) -> dict[str, str]:
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=s3"
    names = "subjectAltName=DNS:cache-hotset,DNS:objects"
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run(
        ["openssl", *command.split(), "-addext", names, *files],
        check=True,
        capture_output=True,
    )
    return {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")}
