"""Presigned URLs: how long one may be good for. hotset verifies those of keys of its own."""

import json
from dataclasses import replace

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import BUCKET
from place import Answer, Place

KEYS = Credentials("AKSUITE", "a secret of this run's hotset alone")
REFUSED = (400, "AuthorizationQueryParametersError")
CASES = {
    "presigned.read": (604_800, (200, "")),
    "presigned.expires-0": (0, REFUSED),
    "presigned.expires-negative": (-1, REFUSED),
    "presigned.expires-too-late": (604_801, REFUSED),
}


@pytest.fixture(scope="module")
def verifying(start_hotset, through, tmp_path_factory) -> Place:
    """A hotset that looks at signatures."""
    path = tmp_path_factory.mktemp("keys") / "identities.yaml"
    identity = {"name": "suite", "access_key": KEYS.access_key, "secret_key": KEYS.secret_key}
    identity["allow"] = [{"actions": ["read"], "resources": ["**"]}]
    path.write_text(json.dumps({"identities": [identity]}))
    hotset = start_hotset(auth={"mode": "verify", "identities": str(path)})
    return replace(through, endpoint=hotset.endpoint)


def read(place: Place, keys, path: str, expires: int) -> Answer:
    request = AWSRequest("GET", place.endpoint + path)
    S3SigV4QueryAuth(keys, "s3", place.region, expires=expires).add_auth(request)
    return place.send("GET", path, request.url.partition("?")[2], signed=False)


@pytest.mark.parametrize("claim", CASES)
def test_presigned(claim, direct, verifying, session, objects, report):
    expires, expected = CASES[claim]
    path = f"/{BUCKET}/{objects}small"
    theirs = read(direct, session.get_credentials(), path, expires)
    ours = read(verifying, KEYS, path, expires)
    found = {"s3": theirs, "hotset": ours}
    wrong = [who for who, answer in found.items() if (answer.status, answer.code) != expected]
    report(claim, {"status": expected[0], "code": expected[1]}, theirs.shown(), ours.shown(), wrong)
