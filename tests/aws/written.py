"""Lists and removes all that the suite has written below its prefix, in one bucket."""

import contextlib
import signal
import time

from botocore.exceptions import ClientError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ABSENT = {"NotImplemented", "MethodNotAllowed", "NoSuchKey"}
"""Of a server without versions or uploads."""
PAUSES = (0, 1, 5)
"""Seconds before each attempt to remove everything."""


@contextlib.contextmanager
def undisturbed():
    """Ignores a second Ctrl-C, which would leave half of it."""
    before = [signal.signal(number, signal.SIG_IGN) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


class Written:
    """Objects, versions, delete markers and uploads below the prefix, whoever has brought them there."""

    def __init__(self, s3, bucket: str, prefix: str, has_versions: bool = True):
        self.s3, self.place, self.prefix, self.has_versions = s3, {"Bucket": bucket}, prefix, has_versions

    def pages(self, operation: str):
        paginator = self.s3.get_paginator(operation)
        try:
            yield from paginator.paginate(**self.place, Prefix=self.prefix)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ABSENT:
                raise

    def objects(self) -> list[str]:
        return [found["Key"] for page in self.pages("list_objects_v2") for found in page.get("Contents", [])]

    def versions(self) -> list[tuple[str, str, str]]:
        """Kind, key and id, of delete markers, too."""
        kinds = ("Versions", "DeleteMarkers")
        pages = self.pages("list_object_versions") if self.has_versions else []
        return [(kind, found["Key"], found["VersionId"]) for page in pages for kind in kinds for found in page.get(kind, [])]

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id. Servers that ignore the prefix name all uploads of the bucket."""
        pages = self.pages("list_multipart_uploads")
        found = [(upload["Key"], upload["UploadId"]) for page in pages for upload in page.get("Uploads", [])]
        return [(key, upload) for key, upload in found if key.startswith(self.prefix)]

    def left(self) -> list[str]:
        """Lists all that is there, with the kind of each. Fails where the keys may not list that."""
        versions = [f"{kind[:-1]} {version} of {key}" for kind, key, version in self.versions()]
        uploads = [f"Upload {upload} of {key}" for key, upload in self.uploads()]
        return [f"Object {key}" for key in self.objects()] + versions + uploads

    def remove(self) -> list[str]:
        """Removes all of it, and returns what is left. A request that was broken off may end after the first look."""
        with undisturbed():
            for pause in PAUSES:
                time.sleep(pause)
                self.remove_once()
                if not (left := self.left()):
                    break
        return left

    def remove_once(self) -> None:
        steps = [(self.s3.abort_multipart_upload, {"Key": key, "UploadId": upload}) for key, upload in self.uploads()]
        for kind, key, version in self.versions():
            # An object without versions is removed by its key, which needs no further permission.
            if (kind, version) != ("Versions", "null"):
                steps.append((self.s3.delete_object, {"Key": key, "VersionId": version}))
        for remove, what in steps:
            # One that cannot be removed keeps none of the others; it is seen afterwards.
            with contextlib.suppress(ClientError):
                remove(**self.place, **what)
        for key in self.objects():
            with contextlib.suppress(ClientError):
                self.s3.delete_object(**self.place, Key=key)
