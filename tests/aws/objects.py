"""The objects that are read, and their checksums."""

import base64
import zlib

from awscrt import checksums

BODY = bytes(n * 7 % 251 for n in range(1_000_000))
PARTS = [bytes([number]) * length for number, length in enumerate([5 << 20, 5 << 20, 1 << 20], 1)]
SIZES = {"small": 5000, "empty": 0, "large": len(BODY)}
ALGORITHMS = {
    "CRC64NVME": (8, checksums.crc64nvme),
    "CRC32C": (4, checksums.crc32c),
    "CRC32": (4, zlib.crc32),
}


def checksum(algorithm: str, body: bytes) -> str:
    """As S3 writes it."""
    length, calculate = ALGORITHMS[algorithm]
    return base64.b64encode(calculate(body).to_bytes(length, "big")).decode()


def write_objects(s3, bucket: str, prefix: str) -> None:
    """`small`, `empty` and `large` without a checksum, `CRC64NVME`, `CRC32C` and `CRC32` with that one, `parts` of 5 MiB, 5 MiB
    and 1 MiB with a CRC32 of each part, and `parts-full` with a CRC64NVME of all of it."""
    for name, size in SIZES.items():
        s3.put_object(Bucket=bucket, Key=prefix + name, Body=BODY[:size])
    for algorithm in ALGORITHMS:
        given = {"ChecksumAlgorithm": algorithm, f"Checksum{algorithm}": checksum(algorithm, BODY)}
        s3.put_object(Bucket=bucket, Key=prefix + algorithm, Body=BODY, **given)
    write_parts(s3, bucket, prefix + "parts", "CRC32", "COMPOSITE")
    write_parts(s3, bucket, prefix + "parts-full", "CRC64NVME", "FULL_OBJECT")


def write_parts(s3, bucket: str, key: str, algorithm: str, kind: str) -> None:
    """An upload that fails is aborted at the end of the suite, with all others."""
    named = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **named)
    place = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}
    sent = []
    for number, body in enumerate(PARTS, 1):
        given = {f"Checksum{algorithm}": checksum(algorithm, body)}
        part = s3.upload_part(**place, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm, **given)
        sent.append({"PartNumber": number, "ETag": part["ETag"], **given})
    whole = {f"Checksum{algorithm}": checksum(algorithm, b"".join(PARTS))} if kind == "FULL_OBJECT" else {}
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": sent}, ChecksumType=kind, **whole)
