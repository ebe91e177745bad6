"""Fixtures: the image that the Dockerfile makes of the tests' own binary, an origin, and containers.

`BUILT_IMAGE=docker-archive:FILE` tests an image that was built whole instead."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from podman import Container, Podman, unavailable

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/hotset:test"
VERSION = next(
    line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version")
)


def pytest_collection_modifyitems(items):
    if reason := unavailable():
        for item in items:
            if "container" in item.fixturenames or "image" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def program() -> Path:
    """The hotset binary, from the variable `HOTSET` or where cargo puts it; linked statically."""
    path = ROOT / os.environ.get("HOTSET", "target/debug/hotset")
    assert path.exists(), f"{path} is not built: see `make test`"
    return path.resolve()


@pytest.fixture(scope="session")
def podman(tmp_path_factory) -> Podman:
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def stages(program, tmp_path_factory) -> dict[str, Path]:
    """What the stages of the Dockerfile before the last ones would have built, for `--build-context`."""
    build, inventory = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("inventory")
    out = build / "out"
    (out / "var/cache/hotset").mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, out / "hotset.debug"], check=True)
    link = f"--add-gnu-debuglink={out / 'hotset.debug'}"
    subprocess.run(["objcopy", "--strip-all", link, program, out / "hotset"], check=True)
    (build / "etc/ssl/certs").mkdir(parents=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", build / "etc/ssl/certs")
    (inventory / "out").mkdir()
    (inventory / "out/sbom.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
    return {"build": build, "inventory": inventory}


@pytest.fixture(scope="session")
def image(podman, request) -> str:
    """The image that `BUILT_IMAGE` names, as `podman pull` takes it; without that variable the last stage of the
    Dockerfile, over the binary of the tests."""
    if whole := os.environ.get("BUILT_IMAGE"):
        podman("tag", podman("pull", "--quiet", whole), IMAGE)
        return IMAGE
    stages = request.getfixturevalue("stages")
    podman(
        "build", "--quiet", "--format", "docker", "--tag", IMAGE,
        *(f"--build-context={name}={folder}" for name, folder in stages.items()),
        "--build-arg", f"VERSION={VERSION}", "--build-arg", "REVISION=0123abcd",
        "--build-arg", "SOURCE=https://example.com/hotset", str(ROOT),
        program="buildah",
    )  # fmt: skip
    return IMAGE


def objects(folder: Path) -> Path:
    """A folder for the embedded S3 server, with a file of the size of the largest sample, which then is not written."""
    (folder / "samples").mkdir(parents=True)
    with (folder / "samples/random-300MiB.bin").open("wb") as sample:
        sample.truncate(300 << 20)
    return folder


class Hotset:
    """A hotset on this machine with an S3 of its own behind it: the origin of those in containers."""

    def __init__(self, program: Path, folder: Path):
        self.port, admin = free_port(), free_port()
        env = {
            "HOTSET_LISTEN__0__ADDRESS": f"127.0.0.1:{self.port}",
            "HOTSET_ADMIN__ADDRESS": f"127.0.0.1:{admin}",
            "HOTSET_LISTEN__0__DOMAINS__0": "origin.test",
            "HOTSET_LOG__ACCESS": "plain",
        }
        self.log = folder / "origin.log"
        with self.log.open("wb") as log:
            command = [program, "serve", "--embedded", objects(folder / "objects")]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        wait(lambda: connects(self.port), self.process.poll, self.log.read_text)

    def reads(self, key: str) -> int:
        """How often a GET of a key was answered."""
        return sum(f'"GET /{key}' in line for line in self.log.read_text().splitlines())


@pytest.fixture(scope="session")
def origin(program, tmp_path_factory):
    hotset = Hotset(program, tmp_path_factory.mktemp("origin"))
    yield hotset
    hotset.process.kill()
    hotset.process.wait()


class Server(Container):
    """hotset in a container, with ports of its own."""

    def __init__(self, podman: Podman, image: str, origin: Hotset, options: tuple[str, ...], env: dict[str, str]):
        self.port, self.admin = free_port(), free_port()
        env = {
            "HOTSET_LISTEN__0__ADDRESS": f"0.0.0.0:{self.port}",
            "HOTSET_ADMIN__ADDRESS": f"0.0.0.0:{self.admin}",
            # By name, which the binary looks up by itself.
            "HOTSET_ORIGIN__ENDPOINT": f"http://origin.test:{origin.port}",
            "HOTSET_AUTH__OPEN": "true",
            "AWS_ACCESS_KEY_ID": "AK",
            "AWS_SECRET_ACCESS_KEY": "sk",
        } | env
        variables = [f"--env={name}={value}" for name, value in env.items()]
        super().__init__(podman, image, "--add-host=origin.test:127.0.0.1", *variables, *options)

    def started(self) -> "Server":
        wait(lambda: connects(self.admin), lambda: None if self.running() else "it ended", self.logs)
        return self


@pytest.fixture
def container(podman, image, origin):
    """Starts hotset in a container, with these options of podman and variables; removed for certain."""
    made = []

    def make(*options: str, **env: str) -> Server:
        made.append(Server(podman, image, origin, options, env))
        return made[-1]

    yield make
    for one in made:
        one.remove()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(until: Callable[[], bool], ended: Callable[[], object], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert ended() is None and time.monotonic() < deadline, said()
        time.sleep(0.02)
