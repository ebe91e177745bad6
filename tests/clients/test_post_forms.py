"""Browsers' uploads: boto3 signs a form, and what a browser would do with it is done through hotset.

moto looks at no signature and at no policy, so that whatever is refused here is refused by hotset.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass

import pytest
import requests

from compare import Caller
from hotset import keys_of


@pytest.fixture(autouse=True)
def only_verify(mode):
    if mode != "verify":
        pytest.skip("only verify looks at policies")


@dataclass
class Form:
    """What `generate_presigned_post` gives, and the file that goes with it."""

    url: str
    fields: dict[str, str]

    def send(self, file: bytes, name: str = "photo.jpg", **changed) -> requests.Response:
        fields = self.fields | changed
        return requests.post(self.url, data=fields, files={"file": (name, file)}, timeout=30, allow_redirects=False)

    def policy(self) -> dict:
        return json.loads(b64decode(self.fields["policy"]))


def form(pair, key: str, identity: str = "client", conditions=(), expires: int = 300, **fields) -> Form:
    caller = Caller(pair.hotset.for_(*keys_of(identity)))
    named = [{name: value} for name, value in fields.items()]
    made = caller.client.generate_presigned_post(
        pair.bucket, key, Fields=fields, Conditions=[*named, *conditions], ExpiresIn=expires
    )
    assert made["url"].startswith(pair.hotset.endpoint)
    return Form(made["url"], made["fields"])


def stored(pair, key: str):
    answer = pair.direct("get_object", Bucket=pair.bucket, Key=key)
    return answer.body if answer.status == 200 else None


def refused(answer: requests.Response, status: int, code: str, message: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert f"<Code>{code}</Code>" in answer.text, answer.text
    assert message in answer.text, answer.text


def test_r21_a_form_is_stored_and_seen_by_the_next_read(pair, prefix):
    key = pair.put(b"an old version", key=f"{prefix}photo.jpg")
    names = {"Bucket": pair.bucket, "Key": key}
    for _ in range(2):
        assert pair.through("get_object", **names).body == b"an old version"
    upload = form(pair, f"{prefix}${{filename}}", **{"x-amz-meta-from": "a browser", "acl": "private"})
    for content in (b"", b"a new one", bytes(range(256)) * 2000):
        answer = upload.send(content)
        assert answer.status_code == 204, answer.text
        assert stored(pair, key) == content
        read = pair.through("get_object", **names)
        assert read.body == content
        assert read.parsed["Metadata"] == {"from": "a browser"}


@pytest.mark.parametrize("size", [0, 9, 300_000])
def test_r21_what_follows_the_file_is_left_out_and_the_file_is_whole(pair, size):
    """As browsers send the button that was pressed; with a key that servers might read otherwise."""
    upload = form(pair, "mine/$5 ü+&/${filename}", "narrow", **{"Content-Type": "text/plain"})
    content = bytes(range(256)) * (size // 256) + b"\r\n--" * (size % 256)
    parts = [(name, (None, value)) for name, value in upload.fields.items()]
    parts += [("file", ("a/photo.jpg", content)), ("key", (None, "theirs/k")), ("submit", (None, "Upload"))]
    answer = requests.post(upload.url, files=parts, timeout=30)
    assert answer.status_code == 204, answer.text
    assert stored(pair, "mine/$5 ü+&/photo.jpg") == content
    assert stored(pair, "theirs/k") is None


def test_r21_a_form_says_how_it_is_answered(pair, prefix):
    status = form(pair, f"{prefix}a", success_action_status="200").send(b"a")
    assert status.status_code == 200, status.text
    page = "https://app.example/done"
    answer = form(pair, f"{prefix}b", success_action_redirect=page).send(b"b")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(page)


def test_r21_a_form_outside_its_policy_is_not_stored(pair, prefix):
    failed = "Invalid according to Policy: Policy Condition failed"
    key = f"{prefix}kept"
    pair.put(b"as it was", key=key)
    sized = form(pair, key, conditions=[["content-length-range", 2, 1000]])
    refused(sized.send(b"x" * 1001), 400, "EntityTooLarge")
    refused(sized.send(b"x" * 100_000), 400, "EntityTooLarge")
    refused(sized.send(b"x"), 400, "EntityTooSmall")
    refused(sized.send(b"file", key=f"{prefix}other"), 403, "AccessDenied", failed)
    extra = "Invalid according to Policy: Extra input fields: x-amz-meta-a"
    refused(sized.send(b"file", **{"x-amz-meta-a": "b"}), 403, "AccessDenied", extra)
    folder = form(pair, f"{prefix}in/${{filename}}")
    refused(folder.send(b"file", key=f"{prefix}kept"), 403, "AccessDenied", failed)
    expired = form(pair, key, expires=-1)
    refused(expired.send(b"file"), 403, "AccessDenied", "Policy expired")
    assert stored(pair, key) == b"as it was"
    assert stored(pair, f"{prefix}other") is None
    assert sized.send(b"x" * 1000).status_code == 204


def test_r21_a_form_that_was_changed_is_not_stored(pair, prefix):
    upload = form(pair, f"{prefix}k")
    policy = upload.policy()
    policy["conditions"][1] = {"key": f"{prefix}other"}
    other = b64encode(json.dumps(policy).encode()).decode()
    refused(upload.send(b"file", key=f"{prefix}other", policy=other), 403, "SignatureDoesNotMatch")
    digits = upload.fields["x-amz-signature"]
    changed = digits[:-1] + ("0" if digits[-1] != "0" else "1")
    refused(upload.send(b"file", **{"x-amz-signature": changed}), 403, "SignatureDoesNotMatch")
    credential = upload.fields["x-amz-credential"]
    reader = credential.replace("AKCLIENT", "AKREADER")
    refused(upload.send(b"file", **{"x-amz-credential": reader}), 403, "SignatureDoesNotMatch")
    unsigned = Form(upload.url, {"key": f"{prefix}k"})
    refused(unsigned.send(b"file"), 403, "AccessDenied")
    assert stored(pair, f"{prefix}k") is None and stored(pair, f"{prefix}other") is None


def test_r21_a_form_does_what_its_signer_may(pair):
    refused(form(pair, "mine/k", "reader").send(b"file"), 403, "AccessDenied")
    refused(form(pair, "theirs/k", "narrow").send(b"file"), 403, "AccessDenied")
    refused(form(pair, "mine/k", "narrow", acl="public-read").send(b"file"), 403, "AccessDenied")
    assert form(pair, "mine/k", "narrow").send(b"file").status_code == 204
    assert stored(pair, "mine/k") == b"file" and stored(pair, "theirs/k") is None
