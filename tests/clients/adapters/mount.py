"""s3fs-fuse: a bucket as a folder."""

import os
import shutil
from pathlib import Path

from adapters.base import PART, Client, Missing
from processes import Process, environment
from servers import REGION, Endpoint


class S3fsFuse(Client):
    """Asks for several names that are not there before each file, and reads in parallel ranges."""

    name = "s3fs-fuse"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        if not shutil.which("s3fs"):
            raise Missing("s3fs is not installed (`.ci/setup clients`)")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Missing("/dev/fuse is not there, or not for us")
        self.root = folder / "mounted"
        self.root.mkdir()
        options = {
            "url": to.endpoint,
            "endpoint": REGION,
            "multipart_size": PART // 2**20,
            "retries": 1,
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self.process = Process(
            "s3fs",
            ["s3fs", bucket, self.root, "-f", "-o", "use_path_request_style", *words],
            folder / "s3fs.log",
            environment(AWSACCESSKEYID=to.access, AWSSECRETACCESSKEY=to.secret),
        )
        try:
            self.process.wait_until(lambda: os.path.ismount(self.root), 10)
        except RuntimeError as error:
            raise Missing(f"nothing can be mounted here: {error}") from error

    def list(self, prefix):
        files = [path for path in (self.root / prefix).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.stat().st_size for path in files}

    def head(self, key):
        return (self.root / key).stat().st_size

    def read(self, key):
        return (self.root / key).read_bytes()

    def read_range(self, key, start, end):
        file = os.open(self.root / key, os.O_RDONLY)
        try:
            return os.pread(file, end - start, start)
        finally:
            os.close(file)

    def write(self, key, body):
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def delete(self, key):
        (self.root / key).unlink()

    def close(self):
        self.process.stop()


CLIENTS = [S3fsFuse]
