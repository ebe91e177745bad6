"""Fixtures: Helm 3 and Helm 4, the binary, and every set of values in values/."""

import os
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
