"""The aws CLI: what it prints and what it leaves in files is the same directly and through hotset."""

import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from processes import environment
from servers import REGION, Endpoint


class Cli:
    def __init__(self, to: Endpoint):
        self.program = Path(sys.executable).with_name("aws")
        self.endpoint = to.endpoint
        self.env = environment(
            AWS_ACCESS_KEY_ID=to.access,
            AWS_SECRET_ACCESS_KEY=to.secret,
            AWS_DEFAULT_REGION=REGION,
        )

    def __call__(self, *words) -> str:
        command = [self.program, "--endpoint-url", self.endpoint, *words]
        done = subprocess.run(
            [str(word) for word in command], env=self.env, capture_output=True, timeout=120
        )
        assert done.returncode == 0, f"{words}: {done.stdout!r}{done.stderr.decode()}"
        return done.stdout.decode()


@pytest.fixture(scope="module")
def direct(server) -> Cli:
    return Cli(server)


@pytest.fixture(scope="module")
def through(hotset) -> Cli:
    return Cli(hotset)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Some files, one of them large enough for a multipart upload.

    They are an hour old: `sync` uploads again what is not older than the listed time, which moto cuts to the second.
    """
    folder, random_bytes = tmp_path_factory.mktemp("tree"), random.Random(2).randbytes
    an_hour_ago = time.time() - 3600
    for name, size in {
        "a.txt": 10,
        "empty": 0,
        "b/c d ü+.bin": 70_000,
        "b/deep/er/x%y": 300_001,
        "large": 17 * 1024 * 1024,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(random_bytes(size))
        os.utime(folder / name, (an_hour_ago, an_hour_ago))
    return folder


@pytest.fixture(scope="module")
def synced(through, pair, tree) -> str:
    """The tree, written through hotset."""
    url = f"s3://{pair.bucket}/tree-{uuid.uuid4().hex}"
    through("s3", "sync", "--no-progress", tree, url)
    return url


def test_what_sync_wrote_is_what_both_read(direct, through, tree, synced, tmp_path):
    for name, cli in {"direct": direct, "cold": through, "warm": through}.items():
        cli("s3", "sync", "--no-progress", synced, tmp_path / name)
        assert files(tmp_path / name) == files(tree)


def test_sync_of_what_is_there_does_nothing(through, tree, synced):
    assert through("s3", "sync", tree, synced) == ""


def test_ls(direct, through, synced):
    for words in (
        ("s3", "ls"),
        ("s3", "ls", f"{synced}/"),
        ("s3", "ls", "--recursive", "--summarize", f"{synced}/"),
    ):
        assert through(*words) == direct(*words)


def test_cp_there_and_back(direct, through, synced, tree, tmp_path):
    for name in ("a.txt", "large"):
        url = f"{synced}/copied/{name}"
        through("s3", "cp", "--no-progress", tree / name, url)
        for cli in (direct, through, through):
            cli("s3", "cp", "--no-progress", url, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == (tree / name).read_bytes()


def test_cp_over_a_cached_object_is_read_at_once(through, synced, tmp_path):
    source, target, url = tmp_path / "source", tmp_path / "target", f"{synced}/changing"
    for text in ("one", "two and more", ""):
        source.write_text(text)
        through("s3", "cp", "--no-progress", source, url)
        through("s3", "cp", "--no-progress", url, target)
        assert target.read_text() == text


def test_cp_from_bucket_to_bucket_and_rm(direct, through, synced, tree, tmp_path):
    source, target = f"{synced}/large", f"{synced}/moved/large"
    through("s3", "cp", "--no-progress", source, target)
    through("s3", "cp", "--no-progress", target, tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == (tree / "large").read_bytes()
    through("s3", "rm", target)
    assert "moved" not in direct("s3", "ls", "--recursive", f"{synced}/")


def test_s3api(direct, through, pair, synced, tmp_path):
    key = synced.removeprefix(f"s3://{pair.bucket}/") + "/b/c d ü+.bin"
    names = ("--bucket", pair.bucket, "--key", key)
    assert through("s3api", "head-object", *names) == direct("s3api", "head-object", *names)
    for cli in (direct, through):
        target = tmp_path / "part"
        cli("s3api", "get-object", *names, "--range", "bytes=65000-66000", target)
        target.rename(tmp_path / cli.endpoint.rsplit(":", 1)[1])
    assert len(set(files(tmp_path).values())) == 1
