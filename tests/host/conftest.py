"""Fixtures: the binary, and an S3 server that it is put in front of."""

import os
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
def origin(program, tmp_path_factory) -> Iterator[str]:
    """The endpoint of an S3 server: the one that is built in, which a hotset of its own passes requests to."""
    folder, port, admin = tmp_path_factory.mktemp("origin"), free_port(), free_port()
    env = environment(
        HOTSET_LISTEN__0__ADDRESS=f"127.0.0.1:{port}", HOTSET_ADMIN__ADDRESS=f"127.0.0.1:{admin}"
    )
    # A sample that nobody reads here, and that takes seconds to write.
    (folder / "data/samples").mkdir(parents=True)
    with (folder / "data/samples/random-300MiB.bin").open("wb") as sparse:
        sparse.truncate(300 << 20)
    command = [program, "serve", "--embedded", folder / "data"]
    server = Process("the origin", command, folder / "log", env)
    try:
        server.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
