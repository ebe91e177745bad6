"""Presigned URLs whose `X-Amz-Expires` S3 does not take: hotset answers as S3, not as the server behind it (R19)."""

from urllib.parse import urlsplit

import pytest
import requests
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from compare import Answer, agree, answer
from servers import REGION, Endpoint

EXPIRIES = (0, -1, 604800, 604801, "soon")


def presigned(to: Endpoint, bucket: str, key: str, expires) -> str:
    """As botocore signs it, whatever the number."""
    request = AWSRequest(method="GET", url=f"{to.endpoint}/{bucket}/{key}")
    signer = S3SigV4QueryAuth(Credentials(to.access, to.secret), "s3", REGION, expires=expires)
    signer.add_auth(request)
    return request.url


def get(url: str) -> Answer:
    got = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=30)
    return answer(got.status_code, dict(got.headers), got.content)


@pytest.mark.parametrize("expires", EXPIRIES)
def test_r19_expiry(pair, mode, prefix, expires):
    if mode != "verify":
        pytest.skip("only verify looks at signatures")
    key = pair.put(b"content", key=f"{prefix}presigned")
    direct = get(presigned(pair.server, pair.bucket, key, expires))
    for _ in ("cold", "warm"):
        through = get(presigned(pair.hotset, pair.bucket, key, expires))
        agree(pair.server.name, f"presigned, expires {expires}", direct, through)
