"""What `make run` starts: hotset over the S3 server that is built in, whose own log tells the truth."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pyarrow.fs
import pyarrow.parquet
import pytest
from botocore.config import Config

from processes import Process, answers_ok, environment, free_port
from servers import REGION

ACCESS, SECRET = "hotset", "hotset-secret"
LARGE = ("random-300MiB.bin", 300 * 1024 * 1024)


class Embedded:
    def __init__(self, program: Path, folder: Path):
        listen, admin = free_port(), free_port()
        self.endpoint, self.folder = f"http://127.0.0.1:{listen}", folder
        config = folder / "hotset.yaml"
        config.write_text(
            json.dumps(
                {
                    "listen": [{"address": f"127.0.0.1:{listen}"}],
                    "admin": {"address": f"127.0.0.1:{admin}"},
                }
            )
        )
        self.process = Process(
            "hotset",
            [program, "serve", "--config", config, "--embedded", folder / "data"],
            folder / "hotset.log",
            environment(),
        )
        self.process.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"), 120)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=Config(response_checksum_validation="when_required"),
        )

    def read(self, key: str, **inputs):
        return self.client.get_object(Bucket="samples", Key=key, **inputs)

    def digest(self, key: str) -> tuple[int, str]:
        """The object's size and MD5, as it is read through hotset."""
        size, digest = 0, hashlib.md5()
        for chunk in self.read(key)["Body"].iter_chunks(1024 * 1024):
            size += len(chunk)
            digest.update(chunk)
        return size, digest.hexdigest()

    def fetched(self, key: str, at_least: int) -> int:
        """Bytes of the key that the origin says it sent, once its log has caught up."""
        deadline = time.monotonic() + 5
        while True:
            lines = [line.split() for line in (self.folder / "origin.log").open()]
            sent = sum(
                int(size)
                for method, path, _range, _status, size in lines
                if method == "GET" and path.split("?")[0] == f"/samples/{key}"
            )
            if sent >= at_least or time.monotonic() > deadline:
                return sent
            time.sleep(0.05)


@pytest.fixture(scope="module")
def embedded(program, tmp_path_factory) -> Embedded:
    running = Embedded(program, tmp_path_factory.mktemp("embedded"))
    yield running
    assert running.process.stop(40) == 0, running.process.tail()


def test_the_banner_shows_how_to_connect(embedded):
    text = embedded.process.log.read_text()
    for word in (embedded.endpoint, ACCESS, SECRET, "curl ", "aws CLI ", "boto3 "):
        assert word in text


@pytest.mark.parametrize("key", ["hello.txt", "measurements.csv", "random-5MiB.bin"])
def test_a_miss_then_a_hit_and_each_byte_fetched_once(embedded, key):
    said, size = [], 0
    for _ in range(3):
        answer = embedded.read(key)
        body = answer["Body"].read()
        assert hashlib.md5(body).hexdigest() == answer["ETag"].strip('"')
        said.append(answer["ResponseMetadata"]["HTTPHeaders"]["cache-status"])
        size = len(body)
    assert ["hit" in words for words in said] == [False, True, True], said
    assert embedded.fetched(key, size) == size


def test_a_suffix_longer_than_the_object(embedded):
    """The first request of polars and of object_store: the library behind it must not fail."""
    answer = embedded.read("hello.txt", Range="bytes=-65536")
    assert answer["ContentRange"] == "bytes 0-25/26"
    assert len(answer["Body"].read()) == 26


def test_parquet_through_pyarrow(embedded):
    files = pyarrow.fs.S3FileSystem(
        access_key=ACCESS,
        secret_key=SECRET,
        region=REGION,
        endpoint_override=embedded.endpoint,
    )
    for _ in ("cold", "warm"):
        table = pyarrow.parquet.read_table("samples/measurements.parquet", filesystem=files)
        assert table.num_rows == 1000
        assert table.column_names == ["row", "station", "time", "temperature"]
    size = files.get_file_info("samples/measurements.parquet").size
    assert embedded.fetched("measurements.parquet", size) == size


def test_a_large_object_read_by_three_at_once_is_fetched_once(embedded):
    key, size = LARGE
    etag = embedded.client.head_object(Bucket="samples", Key=key)["ETag"].strip('"')
    with ThreadPoolExecutor(3) as readers:
        assert set(readers.map(embedded.digest, [key] * 3)) == {(size, etag)}
    assert embedded.fetched(key, size) == size


def test_what_is_written_through_is_read_listed_and_deleted(embedded):
    embedded.client.put_object(Bucket="samples", Key="written ü", Body=b"written")
    assert embedded.read("written ü")["Body"].read() == b"written"
    embedded.client.delete_object(Bucket="samples", Key="written ü")
    listed = embedded.client.list_objects_v2(Bucket="samples")
    assert [entry["Key"] for entry in listed["Contents"]] == sorted(
        ["hello.txt", "measurements.csv", "measurements.parquet", "random-5MiB.bin", LARGE[0]]
    )
