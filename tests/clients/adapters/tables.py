"""Clients that read and write tables: pyarrow (the AWS SDK for C++), polars (object_store), DuckDB (httpfs)."""

from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import polars
import pyarrow.fs
import pyarrow.parquet

from adapters.base import PART, Client
from servers import REGION, Endpoint


class Pyarrow(Client):
    name = "pyarrow"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.files = pyarrow.fs.S3FileSystem(
            access_key=to.access,
            secret_key=to.secret,
            region=REGION,
            scheme="http",
            endpoint_override=urlsplit(to.endpoint).netloc,
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    def path(self, key):
        return f"{self.bucket}/{key}"

    def list(self, prefix):
        selector = pyarrow.fs.FileSelector(self.path(prefix.rstrip("/")), recursive=True)
        found = self.files.get_file_info(selector)
        return {info.path.split("/", 1)[1]: info.size for info in found if info.is_file}

    def head(self, key):
        info = self.files.get_file_info(self.path(key))
        if info.type == pyarrow.fs.FileType.NotFound:
            raise FileNotFoundError(key)
        return info.size

    def read(self, key):
        with self.files.open_input_stream(self.path(key)) as source:
            return source.read()

    def read_range(self, key, start, end):
        with self.files.open_input_file(self.path(key)) as source:
            return source.read_at(end - start, start)

    def read_table(self, key):
        return pyarrow.parquet.read_table(self.path(key), filesystem=self.files)

    def write(self, key, body):
        with self.files.open_output_stream(self.path(key)) as target:
            target.write(body)

    def write_table(self, key, table):
        pyarrow.parquet.write_table(table, self.path(key), filesystem=self.files)

    def copy(self, source, target):
        self.files.copy_file(self.path(source), self.path(target))

    def delete(self, key):
        self.files.delete_file(self.path(key))


class Polars(Client):
    """Parquet only: it begins with the last bytes of the object, without HEAD."""

    name = "polars"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.options = {
            "aws_access_key_id": to.access,
            "aws_secret_access_key": to.secret,
            "aws_region": REGION,
            "aws_endpoint_url": to.endpoint,
            "aws_allow_http": "true",
            "max_retries": 0,
        }

    def list(self, prefix):
        """Of Parquet files, by a glob."""
        files = polars.scan_parquet(
            f"s3://{self.bucket}/{prefix}**/*",
            storage_options=self.options,
            include_file_paths="path",
        )
        paths = files.select("path").collect()["path"].unique()
        return {path.removeprefix(f"s3://{self.bucket}/"): None for path in paths}

    def read_table(self, key):
        url = f"s3://{self.bucket}/{key}"
        return polars.read_parquet(url, storage_options=self.options, glob=False).to_arrow()

    def write_table(self, key, table):
        url = f"s3://{self.bucket}/{key}"
        polars.from_arrow(table).write_parquet(url, storage_options=self.options)


class DuckDb(Client):
    """The one client here that signs no Range."""

    name = "duckdb"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.database = duckdb.connect()
        extensions = resources.files("duckdb_extension_httpfs") / "extensions"
        (extension,) = Path(str(extensions)).rglob("httpfs.duckdb_extension")
        self.database.execute(f"LOAD '{extension}'")
        # What it caches itself would hide what hotset answers.
        self.database.execute("SET enable_external_file_cache = false")
        self.database.execute("SET http_retries = 0")
        self.database.execute("SET s3_uploader_max_filesize = '50GB'")  # parts of 5 MiB
        self.database.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{to.access}', SECRET '{to.secret}', REGION '{REGION}',"
            f" ENDPOINT '{urlsplit(to.endpoint).netloc}', URL_STYLE 'path', USE_SSL false)"
        )

    def ask(self, query: str, *values):
        return self.database.execute(query, values)

    def url(self, key):
        return f"s3://{self.bucket}/{key}"

    def list(self, prefix):
        found = self.ask("SELECT filename, size FROM read_blob(?)", self.url(f"{prefix}**")).fetchall()
        return {name.removeprefix(self.url("")): size for name, size in found}

    def read(self, key):
        try:
            return self.ask("SELECT content FROM read_blob(?)", self.url(key)).fetchone()[0]
        except duckdb.HTTPException as error:
            if error.status_code == 404:
                raise FileNotFoundError(key) from error
            raise

    def read_table(self, key):
        return self.ask("SELECT * FROM read_parquet(?)", self.url(key)).to_arrow_table()

    def write_table(self, key, table):
        self.database.register("written", table)
        self.database.execute(f"COPY written TO '{self.url(key)}' (FORMAT parquet)")

    def close(self):
        self.database.close()


CLIENTS = [Pyarrow, Polars, DuckDb]
