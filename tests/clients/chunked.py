"""PutObject with an aws-chunked body, as SDKs send it over TLS; boto3 does not over plain HTTP.

Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring
Payload in Multiple Chunks" and "... with trailing headers".
"""

import base64
import hashlib
import hmac
import http.client
import zlib
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from compare import Answer, answer
from servers import REGION, Endpoint

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CHUNK = 64 * 1024
TRAILER = "x-amz-checksum-crc32"


class Signer(S3SigV4Auth):
    """botocore's, with the payload's hash given; then it signs the chunks in their turn."""

    def __init__(self, keys: Credentials, region: str, payload: str):
        super().__init__(keys, "s3", region)
        self.payload_hash, self.secret = payload, keys.secret_key

    def payload(self, request) -> str:
        return self.payload_hash

    def begin(self, request: AWSRequest) -> None:
        self.add_auth(request)
        self.date = request.headers["X-Amz-Date"]
        self.last = request.headers["Authorization"].rsplit("Signature=", 1)[1]
        self.scope = f"{self.date[:8]}/{self._region_name}/s3/aws4_request"
        self.key = f"AWS4{self.secret}".encode()
        for part in self.scope.split("/"):
            self.key = hmac.digest(self.key, part.encode(), "sha256")

    def next(self, kind: str, *hashed: bytes) -> str:
        hashes = [hashlib.sha256(data).hexdigest() for data in hashed]
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.date, self.scope, self.last, *hashes])
        self.last = hmac.new(self.key, text.encode(), "sha256").hexdigest()
        return self.last


def framed(body: bytes, payload: str, signer: Signer) -> bytes:
    out = b""
    for start in range(0, len(body) + CHUNK, CHUNK):  # the last one is empty
        piece = body[start : start + CHUNK]
        size = f"{len(piece):x}"
        if payload != UNSIGNED_TRAILER:
            size += f";chunk-signature={signer.next('PAYLOAD', b'', piece)}"
        out += f"{size}\r\n".encode()
        if piece:
            out += piece + b"\r\n"
    if payload == SIGNED:
        return out + b"\r\n"
    line = f"{TRAILER}:{crc32(body)}"
    out += f"{line}\r\n".encode()
    if payload == SIGNED_TRAILER:
        signature = signer.next("TRAILER", f"{line}\n".encode())
        out += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return out + b"\r\n"


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def put(
    to: Endpoint, bucket: str, key: str, body: bytes, payload: str, region: str = REGION, token: str | None = None
) -> Answer:
    path = f"/{bucket}/{quote(key)}"
    request = AWSRequest("PUT", to.endpoint + path)
    request.headers["Content-Encoding"] = "aws-chunked"
    request.headers["X-Amz-Decoded-Content-Length"] = str(len(body))
    request.headers["X-Amz-Content-SHA256"] = payload
    if payload != SIGNED:
        request.headers["X-Amz-Trailer"] = TRAILER
    signer = Signer(Credentials(to.access, to.secret, token), region, payload)
    signer.begin(request)
    sent = framed(body, payload, signer)
    place = urlsplit(to.endpoint)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.netloc, timeout=30)
    try:
        connection.request("PUT", path, sent, dict(request.headers))
        got = connection.getresponse()
        return answer(got.status, dict(got.getheaders()), got.read())
    finally:
        connection.close()
