"""Fixtures: the binary, and an S3 server that it is put in front of."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Process, answers_ok, environment, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program() -> Path:
    """The hotset binary, from the variable `HOTSET` or where cargo puts it."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: cargo build --locked --features receivers"
    return path.resolve()


@pytest.fixture(scope="session")
def stripped(program, tmp_path_factory) -> Path:
    """The same without debugging information, a third as large: it is copied."""
    path = tmp_path_factory.mktemp("stripped") / "hotset"
    subprocess.run(["strip", "--strip-debug", "-o", path, program], check=True)
    return path


def embedded(program: Path, data: Path, folder: Path) -> tuple[Process, str]:
    """The S3 server that is built in, which a hotset of its own passes requests to; and its endpoint."""
    port, admin = free_port(), free_port()
    env = environment(
        HOTSET_LISTEN__0__ADDRESS=f"127.0.0.1:{port}", HOTSET_ADMIN__ADDRESS=f"127.0.0.1:{admin}"
    )
    server = Process("the origin", [program, "serve", "--embedded", data], folder / "log", env)
    server.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"), 60)
    return server, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def samples(program, tmp_path_factory) -> Path:
    """The folder of such a server with its samples, which take seconds to write. The large one is a hole afterwards, so
    that the folder is quickly copied: nobody reads it here."""
    folder = tmp_path_factory.mktemp("samples")
    server, _ = embedded(program, folder / "data", folder)
    server.stop()
    large = folder / "data/samples/random-300MiB.bin"
    size = large.stat().st_size
    os.truncate(large, 0)
    os.truncate(large, size)
    return folder / "data"


def copy_samples(samples: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", "--sparse=always", samples, to], check=True)


@pytest.fixture(scope="session")
def origin(program, samples, tmp_path_factory) -> Iterator[str]:
    """The endpoint of an S3 server."""
    folder = tmp_path_factory.mktemp("origin")
    copy_samples(samples, folder / "data")
    server, endpoint = embedded(program, folder / "data", folder)
    yield endpoint
    server.stop()
