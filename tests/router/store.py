#!/usr/bin/env python3
"""An S3 server in memory, of which each change happens at one moment, and which remembers what it had when.

    store.py PORT

The embedded server writes an object and its ETag one after the other: two writes of one key at the same time may leave
one's bytes and the other's ETag. Here an answer is of one state. `/~history/bucket/key`: its last states, as JSON.
"""

import asyncio
import collections
import hashlib
import json
import re
import sys
import time
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

REMEMBERED = 50
"""States of a key."""
RANGE = re.compile(rb"bytes=(\d+)-(\d*)$")
ERROR = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message></Error>"


class Store:
    """Objects by path, each with its bytes and what is said of them."""

    def __init__(self):
        self.objects: dict[str, tuple[bytes, str, str]] = {}
        self.history: dict[str, collections.deque] = {}

    def put(self, path: str, body: bytes | None) -> str:
        states = self.history.setdefault(path, collections.deque(maxlen=REMEMBERED))
        states.append((time.monotonic(), None if body is None else body[:40].decode("latin-1")))
        if body is None:
            self.objects.pop(path, None)
            return ""
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        self.objects[path] = (body, etag, formatdate(usegmt=True))
        return etag

    def answer(self, method: str, target: str, headers: dict[str, bytes], body: bytes):
        """Status, headers and body of an answer."""
        url = urlsplit(target)
        path = unquote(url.path)
        if path.startswith("/~history"):
            return 200, {}, json.dumps(list(self.history.get(path.removeprefix("/~history"), []))).encode()
        if path.count("/") < 2 and method == "PUT":
            return 200, {}, b""
        if method == "POST" and url.query.startswith("delete"):
            for key in re.findall(rb"<Key>(.*?)</Key>", body):
                self.put(f"{path}/{key.decode()}", None)
            return 200, {}, b"<DeleteResult/>"
        if method == "PUT" and "x-amz-copy-source" in headers:
            source = "/" + unquote(headers["x-amz-copy-source"].decode()).lstrip("/")
            if source not in self.objects:
                return refused(404, "NoSuchKey")
            etag = self.put(path, self.objects[source][0])
            return 200, {}, f"<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>".encode()
        if method == "PUT":
            return 200, {"ETag": self.put(path, body)}, b""
        if method in ("GET", "HEAD"):
            return self.read(path, headers)
        return refused(501, "NotImplemented")

    def read(self, path: str, headers: dict[str, bytes]):
        if path not in self.objects:
            return refused(404, "NoSuchKey")
        body, etag, modified = self.objects[path]
        if headers.get("if-match", etag.encode()) != etag.encode():
            return refused(412, "PreconditionFailed")
        said = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        if found := RANGE.match(headers.get("range", b"")):
            first = int(found[1])
            last = min(int(found[2] or len(body)), len(body) - 1)
            if first > last:
                return refused(416, "InvalidRange")
            said["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            return 206, said, body[first : last + 1]
        return 200, said, body


def refused(status: int, code: str):
    return status, {"Content-Type": "application/xml"}, ERROR.format(code).encode()


async def body_of(reader: asyncio.StreamReader, headers: dict[str, bytes]) -> bytes:
    if headers.get("transfer-encoding", b"").lower() != b"chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


async def serve(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            request, *lines = head.rstrip().split(b"\r\n")
            method, target, _ = request.decode().split(" ")
            pairs = (line.split(b":", 1) for line in lines)
            headers = {name.decode().lower(): value.strip() for name, value in pairs}
            if headers.get("expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # Only a write that has come whole happens.
            body = await body_of(reader, headers)
            status, said, content = store.answer(method, target, headers, body)
            said |= {"Content-Length": str(len(content)), "Date": formatdate(usegmt=True)}
            text = "".join(f"{name}: {value}\r\n" for name, value in said.items())
            sent = b"" if method == "HEAD" else content
            writer.write(f"HTTP/1.1 {status} Status\r\n{text}\r\n".encode() + sent)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    store = Store()
    server = await asyncio.start_server(lambda *streams: serve(store, *streams), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
