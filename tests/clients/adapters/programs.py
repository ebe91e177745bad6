"""Clients that are programs: the aws CLI in both its versions, s5cmd, rclone, s3cmd, and the two of Rust."""

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from adapters.base import PART, Missing, Program
from servers import REGION


class AwsCli(Program):
    """Version 1, which comes with Python's packages."""

    name = "aws-cli-1"
    program = "aws"
    not_found = ("(404)",)

    def variables(self):
        # Version 1 presigns by SigV2 unless told otherwise.
        config = self.folder / "config"
        config.write_text("[default]\ns3 =\n    signature_version = s3v4\n")
        return super().variables() | {"AWS_CONFIG_FILE": str(config)}

    def options(self):
        return ["--endpoint-url", self.to.endpoint]

    def list(self, prefix):
        lines = self.run("s3", "ls", "--recursive", self.url(prefix)).decode().splitlines()
        return {line[31:]: int(line[20:30]) for line in lines}

    def names(self, key):
        return ("--bucket", self.bucket, "--key", key)

    def head(self, key):
        return json.loads(self.run("s3api", "head-object", *self.names(key)))["ContentLength"]

    def read(self, key):
        target = self.folder / "object"
        self.run("s3", "cp", "--only-show-errors", self.url(key), target)
        return target.read_bytes()

    def read_range(self, key, start, end):
        target = self.folder / "range"
        wanted = f"bytes={start}-{end - 1}"
        self.run("s3api", "get-object", *self.names(key), "--range", wanted, target)
        return target.read_bytes()

    def write(self, key, body):
        self.run("s3", "cp", "--only-show-errors", self.file(body), self.url(key))

    def copy(self, source, target):
        self.run("s3", "cp", "--only-show-errors", self.url(source), self.url(target))

    def delete(self, key):
        self.run("s3", "rm", "--only-show-errors", self.url(key))

    def presign(self, key, seconds):
        return self.run("s3", "presign", self.url(key), "--expires-in", seconds).decode().strip()


class AwsCli2(AwsCli):
    """Version 2, which comes with Debian."""

    name = "aws-cli-2"

    @classmethod
    def find(cls) -> str:
        path = "/usr/bin/aws"
        asked = [path, "--version"]
        if not Path(path).exists() or b"aws-cli/2." not in subprocess.check_output(asked):
            raise Missing(f"{path} is not there, or not version 2 (`.ci/setup clients`)")
        return path


class S5cmd(Program):
    """Reads with ranges that go past the end."""

    name = "s5cmd"
    program = "s5cmd"
    not_found = ("not found", "NoSuchKey")

    def options(self):
        return ["--endpoint-url", self.to.endpoint, "--retry-count", "0", "--json"]

    def list(self, prefix):
        lines = self.run("ls", self.url(f"{prefix}*")).splitlines()
        found = [json.loads(line) for line in lines]
        return {entry["key"].removeprefix(self.url("")): entry["size"] for entry in found}

    def head(self, key):
        return json.loads(self.run("head", self.url(key)))["size"]

    def read(self, key):
        target = self.folder / "object"
        self.run("cp", "--raw", "--part-size", PART // 2**20, self.url(key), target)
        return target.read_bytes()

    def write(self, key, body):
        self.run("cp", "--part-size", PART // 2**20, self.file(body), self.url(key))

    def copy(self, source, target):
        self.run("cp", "--raw", self.url(source), self.url(target))

    def delete(self, key):
        self.run("rm", "--raw", self.url(key))

    def presign(self, key, seconds):
        return self.run("presign", "--expire", f"{seconds}s", self.url(key)).decode().strip()


class Rclone(Program):
    """Signs Accept-Encoding; lists by version 1; large objects over several ranges at once."""

    name = "rclone"
    program = "rclone"
    not_found = ("object not found", "not found")

    def variables(self):
        config = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ACCESS_KEY_ID": self.to.access,
            "SECRET_ACCESS_KEY": self.to.secret,
            "REGION": REGION,
            "ENDPOINT": self.to.endpoint,
            "FORCE_PATH_STYLE": "true",
            "CHUNK_SIZE": f"{PART}B",
            "UPLOAD_CUTOFF": f"{PART}B",
        }
        named = {f"RCLONE_CONFIG_TESTS_{key}": value for key, value in config.items()}
        return named | {"RCLONE_CONFIG": os.devnull}

    def options(self):
        return ["--retries", "1", "--low-level-retries", "1", "--multi-thread-cutoff", f"{PART}B"]

    def url(self, key):
        return f"tests:{self.bucket}/{key}"

    def list(self, prefix):
        found = json.loads(self.run("lsjson", "--recursive", "--files-only", self.url(prefix)))
        return {prefix + entry["Path"]: entry["Size"] for entry in found}

    def head(self, key):
        found = json.loads(self.run("lsjson", "--stat", self.url(key)))
        if found is None or found["IsDir"]:
            raise FileNotFoundError(key)
        return found["Size"]

    def read(self, key):
        target = self.folder / "object"
        self.run("copyto", "--ignore-times", self.url(key), target)
        return target.read_bytes()

    def read_range(self, key, start, end):
        return self.run("cat", "--offset", start, "--count", end - start, self.url(key))

    def write(self, key, body):
        self.run("copyto", "--ignore-times", self.file(body), self.url(key))

    def copy(self, source, target):
        self.run("copyto", self.url(source), self.url(target))

    def delete(self, key):
        self.run("deletefile", self.url(key))

    def presign(self, key, seconds):
        return self.run("link", "--expire", f"{seconds}s", self.url(key)).decode().strip()


class S3cmd(Program):
    """Asks for the bucket's location first. What it presigns is SigV2."""

    name = "s3cmd"
    program = "s3cmd"
    not_found = ("404 (Not Found)", "404 (NoSuchKey)", "does not exist")

    def options(self):
        host = urlsplit(self.to.endpoint).netloc
        return [
            f"--config={os.devnull}",
            f"--access_key={self.to.access}",
            f"--secret_key={self.to.secret}",
            f"--host={host}",
            f"--host-bucket={host}",
            f"--region={REGION}",
            "--no-ssl",
            "--no-progress",
            f"--multipart-chunk-size-mb={PART // 2**20}",
        ]

    def list(self, prefix):
        lines = self.run("ls", "--recursive", self.url(prefix)).decode().splitlines()
        found = [re.fullmatch(r"\S+ \S+ +(\d+) +(s3://.*)", line) for line in lines]
        return {match[2].removeprefix(self.url("")): int(match[1]) for match in found}

    def head(self, key):
        said = self.run("info", self.url(key)).decode()
        return int(re.search(r"File size: +(\d+)", said)[1])

    def read(self, key):
        target = self.folder / "object"
        self.run("get", "--force", self.url(key), target)
        return target.read_bytes()

    def write(self, key, body):
        self.run("put", self.file(body), self.url(key))

    def copy(self, source, target):
        self.run("cp", self.url(source), self.url(target))

    def delete(self, key):
        self.run("del", self.url(key))


class RustClient(Program):
    """One of the two in tests/clients/rust."""

    program = "rust-clients"
    not_found_code = 44

    @classmethod
    def find(cls) -> str:
        built = Path(__file__).resolve().parents[3] / "target/clients/debug" / cls.program
        path = Path(os.environ.get("RUST_CLIENTS", built))
        if not path.exists():
            raise Missing(f"{path} is not built (`make test`, or cargo in tests/clients/rust)")
        return str(path)

    def options(self):
        return [self.name]

    def variables(self):
        return super().variables() | {"BUCKET": self.bucket, "AWS_ENDPOINT_URL": self.to.endpoint}

    def list(self, prefix):
        lines = self.run("list", prefix).decode().splitlines()
        return {key: int(size) for size, key in (line.split("\t", 1) for line in lines)}

    def head(self, key):
        return int(self.run("head", key))

    def read(self, key):
        return self.run("get", key)

    def read_range(self, key, start, end):
        return self.run("get", key, start, end)

    def write(self, key, body):
        self.run("put", key, body=body)

    def copy(self, source, target):
        self.run("copy", source, target)

    def delete(self, key):
        self.run("delete", key)

    def presign(self, key, seconds):
        return self.run("presign", key, seconds).decode()


class AwsSdkRust(RustClient):
    """As it comes: `x-id` in the query, the bucket in the host."""

    name = "aws-sdk"

    def variables(self):
        return super().variables() | {"AWS_ENDPOINT_URL": self.to.virtual}


class ObjectStoreRust(RustClient):
    name = "object_store"


CLIENTS = [AwsCli, AwsCli2, S5cmd, Rclone, S3cmd, AwsSdkRust, ObjectStoreRust]
