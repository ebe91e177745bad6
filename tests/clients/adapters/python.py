"""Clients that are Python libraries and move bytes: boto3 with and without CRT, s3fs, obstore, CRT for torch."""

import io
import os
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import boto3
import botocore.session
import obstore
import s3fs
from awscrt.auth import AwsCredentialsProvider
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from obstore.store import S3Store
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client, S3Exception
from s3transfer.crt import BotocoreCRTRequestSerializer, CRTTransferManager, create_s3_crt_client

from adapters.base import MIB, PART, Client
from servers import REGION, Endpoint


@contextmanager
def boto_errors():
    try:
        yield
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise FileNotFoundError(str(error)) from error
        raise


class Boto3(Client):
    """With its managed transfers: parallel ranges with If-Match, parallel parts."""

    name = "boto3"
    transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.client = boto3.client(
            "s3",
            endpoint_url=to.endpoint,
            aws_access_key_id=to.access,
            aws_secret_access_key=to.secret,
            region_name=REGION,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    def list(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": 2}
        )
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    def head(self, key):
        with boto_errors():
            return self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]

    def read(self, key):
        target = io.BytesIO()
        with boto_errors():
            self.client.download_fileobj(self.bucket, key, target, Config=self.transfer)
        return target.getvalue()

    def read_range(self, key, start, end):
        wanted = f"bytes={start}-{end - 1}"
        return self.client.get_object(Bucket=self.bucket, Key=key, Range=wanted)["Body"].read()

    def write(self, key, body):
        self.client.upload_fileobj(io.BytesIO(body), self.bucket, key, Config=self.transfer)

    def copy(self, source, target):
        self.client.copy({"Bucket": self.bucket, "Key": source}, self.bucket, target)

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def presign(self, key, seconds):
        names = {"Bucket": self.bucket, "Key": key}
        return self.client.generate_presigned_url("get_object", Params=names, ExpiresIn=seconds)


class Boto3Crt(Boto3):
    """boto3 whose transfers the AWS Common Runtime makes.

    Put together as boto3 does, which has no way to give the CRT another endpoint than AWS's.
    """

    name = "boto3-crt"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        config = Config(s3={"addressing_style": "path"})
        serializer = BotocoreCRTRequestSerializer(
            botocore.session.Session(),
            {"region_name": REGION, "endpoint_url": to.endpoint, "config": config},
        )
        client = create_s3_crt_client(
            REGION,
            AwsCredentialsProvider.new_static(to.access, to.secret),
            use_ssl=False,
            part_size=PART,
        )
        self.manager = CRTTransferManager(client, serializer)

    def read(self, key):
        target = io.BytesIO()
        with boto_errors():
            self.manager.download(self.bucket, key, target).result()
        return target.getvalue()

    def write(self, key, body):
        self.manager.upload(io.BytesIO(body), self.bucket, key).result()

    def delete(self, key):
        self.manager.delete(self.bucket, key).result()


class S3fs(Client):
    """fsspec's S3, under pandas and dask; aiobotocore below it."""

    name = "s3fs"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.files = s3fs.S3FileSystem(
            key=to.access,
            secret=to.secret,
            endpoint_url=to.endpoint,
            client_kwargs={"region_name": REGION},
            config_kwargs={"signature_version": "s3v4", "retries": {"total_max_attempts": 1}},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def path(self, key):
        return f"{self.bucket}/{key}"

    def list(self, prefix):
        found = self.files.find(self.path(prefix), detail=True)
        return {path.split("/", 1)[1]: entry["size"] for path, entry in found.items()}

    def head(self, key):
        return self.files.info(self.path(key), refresh=True)["size"]

    def read(self, key):
        with self.files.open(self.path(key), "rb", block_size=PART) as source:
            return source.read()

    def read_range(self, key, start, end):
        return self.files.cat_file(self.path(key), start=start, end=end)

    def write(self, key, body):
        with self.files.open(self.path(key), "wb", block_size=PART) as target:
            target.write(body)

    def copy(self, source, target):
        self.files.copy(self.path(source), self.path(target))

    def delete(self, key):
        self.files.rm(self.path(key))

    def presign(self, key, seconds):
        return self.files.sign(self.path(key), expiration=seconds)


class Obstore(Client):
    """The Rust crate object_store under Python."""

    name = "obstore"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        self.store = S3Store(
            bucket,
            endpoint=to.endpoint,
            access_key_id=to.access,
            secret_access_key=to.secret,
            region=REGION,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def list(self, prefix):
        return {meta["path"]: meta["size"] for meta in obstore.list(self.store, prefix).collect()}

    def head(self, key):
        return obstore.head(self.store, key)["size"]

    def read(self, key):
        return bytes(obstore.get(self.store, key).bytes())

    def read_range(self, key, start, end):
        return bytes(obstore.get_range(self.store, key, start=start, end=end))

    def write(self, key, body):
        obstore.put(self.store, key, body, use_multipart=len(body) > PART, chunk_size=PART)

    def copy(self, source, target):
        obstore.copy(self.store, source, target)

    def delete(self, key):
        obstore.delete(self.store, key)

    def presign(self, key, seconds):
        return obstore.sign(self.store, "GET", key, timedelta(seconds=seconds))


class S3Torch(Client):
    """Mountpoint's client on the CRT: a first range without HEAD, If-Match on the later ones."""

    name = "s3torchconnectorclient"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        # It takes keys from the usual places only, and remembers where those were.
        keys = f"[tests]\naws_access_key_id = {to.access}\naws_secret_access_key = {to.secret}\n"
        (folder / "credentials").write_text(keys)
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(folder / "credentials")
        try:
            self.client = MountpointS3Client(
                REGION,
                profile="tests",
                part_size=8 * MIB,
                endpoint=to.endpoint,
                force_path_style=True,
                max_attempts=1,
            )
        finally:
            del os.environ["AWS_SHARED_CREDENTIALS_FILE"]

    def list(self, prefix):
        pages = self.client.list_objects(self.bucket, prefix, max_keys=2)
        return {info.key: info.size for page in pages for info in page.object_info}

    def head(self, key):
        with self.errors():
            return self.client.head_object(self.bucket, key).size

    def read(self, key):
        with self.errors():
            return b"".join(self.client.get_object(self.bucket, key))

    def read_range(self, key, start, end):
        return b"".join(self.client.get_object(self.bucket, key, start, end))

    def write(self, key, body):
        stream = self.client.put_object(self.bucket, key)
        for start in range(0, len(body), MIB):
            stream.write(body[start : start + MIB])
        stream.close()

    def copy(self, source, target):
        self.client.copy_object(self.bucket, source, self.bucket, target)

    def delete(self, key):
        self.client.delete_object(self.bucket, key)

    @staticmethod
    @contextmanager
    def errors():
        try:
            yield
        except S3Exception as error:
            if "not exist" in str(error).lower() or "not found" in str(error).lower():
                raise FileNotFoundError(str(error)) from error
            raise


CLIENTS = [Boto3, Boto3Crt, S3fs, Obstore, S3Torch]
