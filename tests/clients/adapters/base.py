"""What the scenarios ask of a client, and how a client that is a program is run.

A client has the methods that it can do, under these names; `can` tells. A key is an object's whole
key, sizes and positions are bytes, and an object that is not there is a FileNotFoundError:

    list(prefix) -> {key: size}        write(key, body)           delete(key)
    head(key) -> size                  write_table(key, table)    presign(key, seconds) -> URL
    read(key) -> bytes                 copy(source, target)
    read_range(key, start, end) -> bytes
    read_table(key) -> pyarrow.Table
"""

import shutil
import subprocess
import sys
from pathlib import Path

from processes import environment
from servers import REGION, Endpoint

MIB = 1024 * 1024
PART = 5 * MIB
"""The smallest part that S3 takes, and so what the clients are told to upload in."""


class Missing(Exception):
    """The client cannot be had on this machine."""


class Failed(Exception):
    """The client says that the call failed."""


class Client:
    name: str

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        """`folder` is the client's own, and empty."""
        self.to, self.bucket, self.folder = to, bucket, folder

    @classmethod
    def can(cls, operation: str) -> bool:
        return hasattr(cls, operation)

    def close(self) -> None:
        """Ends what the client left running."""


class Program(Client):
    """A client that is a program: each call is a run of it."""

    program: str
    not_found: tuple[str, ...] = ()
    """What it says of an object that is not there."""
    not_found_code: int | None = None
    """How it ends then, where that tells."""

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.path = self.find()

    @classmethod
    def find(cls) -> str:
        beside = Path(sys.executable).with_name(cls.program)
        found = str(beside) if beside.exists() else shutil.which(cls.program)
        if not found:
            raise Missing(f"{cls.program} is not installed (`.ci/setup clients`)")
        return found

    def variables(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.to.access,
            "AWS_SECRET_ACCESS_KEY": self.to.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def options(self) -> list[str]:
        return []

    def run(self, *words, body: bytes = b"") -> bytes:
        """What it prints; `body` is its stdin."""
        command = [self.path, *self.options(), *map(str, words)]
        done = subprocess.run(
            command, env=environment(**self.variables()), input=body, capture_output=True, timeout=120
        )
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr + done.stdout).decode(errors="replace")
        gone = done.returncode == self.not_found_code
        if gone or any(text in said for text in self.not_found):
            raise FileNotFoundError(said)
        raise Failed(f"{command} ended with {done.returncode}: {said}")

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def file(self, body: bytes = b"") -> Path:
        path = self.folder / "object"
        path.write_bytes(body)
        return path
