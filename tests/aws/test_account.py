"""The bucket's region, hotset's own check, and that nothing is left of all this."""

import re

from conftest import BUCKET, IS_AWS, client_of
from place import Place

ELSEWHERE = {"aws": ("eu-west-1", "us-west-2"), "aws-cn": ("cn-north-1", "cn-northwest-1")}
"""Two regions of a partition: one is not the bucket's."""
ADDRESS = re.compile(r"\d+(\.\d+){3}|[0-9a-f]+:[0-9a-f:]+:[0-9a-f]+")


def another(session, region: str) -> str:
    partition = session.get_partition_for_region(region)
    return next(name for name in ELSEWHERE.get(partition, ELSEWHERE["aws"]) if name != region)


def test_a_bucket_says_its_region(direct, through, region, report):
    theirs, ours = (place.send("HEAD", f"/{BUCKET}") for place in (direct, through))
    said = {"status": 200, "headers": {"x-amz-bucket-region": region}}
    wrong = ["s3"] if theirs.headers.get("x-amz-bucket-region") != region else []
    wrong += ["hotset"] if ours.status != theirs.status else []
    report("region.told", said, theirs.shown(), ours.shown(), wrong)


def test_another_endpoint_names_the_region(session, region, report):
    if not IS_AWS:
        report.skip("another server, which has one region", "region.another-endpoint")
    elsewhere = another(session, region)
    place = Place(client_of(session, elsewhere, None).meta.endpoint_url, elsewhere, session)
    answers = {
        "GET": place.send("GET", f"/{BUCKET}", "list-type=2&max-keys=1"),
        "HEAD": place.send("HEAD", f"/{BUCKET}"),
    }
    right = [answer.status in (301, 307) and answer.headers.get("x-amz-bucket-region") == region for answer in answers.values()]
    shown = {method: answer.shown() for method, answer in answers.items()}
    said = {"status": "301 or 307", "headers": {"x-amz-bucket-region": region}}
    report("region.another-endpoint", said, shown, {}, [] if all(right) else ["s3"])


def test_a_signature_for_another_region_is_refused_with_the_right_one(direct, session, region, report):
    if not IS_AWS:
        report.skip("another server, which has one region", "region.signed-for-another")
    answer = Place(direct.endpoint, another(session, region), session).send("GET", f"/{BUCKET}", "list-type=2&max-keys=1")
    named = re.search(rb"<Region>([^<]+)</Region>", answer.body)
    found = answer.shown() | {"region": named[1].decode() if named else ""}
    right = (answer.status, answer.code, found["region"]) == (400, "AuthorizationHeaderMalformed", region)
    said = {"status": 400, "code": "AuthorizationHeaderMalformed", "region": region}
    report("region.signed-for-another", said, found, {}, [] if right else ["s3"])


def test_hotset_finds_the_region(session, region, direct, start_hotset, objects, report):
    """hotset is told another region: it reads and lists all the same."""
    if not IS_AWS:
        report.skip("another server, which has one region", "region.through-hotset")
    elsewhere = another(session, region)
    hotset = start_hotset(client_of(session, elsewhere, None).meta.endpoint_url, elsewhere)
    through, found = Place(hotset.endpoint, elsewhere, session), {}
    for name, path, query in [("read", f"/{BUCKET}/{objects}large", ""), ("list", f"/{BUCKET}", f"prefix={objects}")]:
        theirs, ours = (place.send("GET", path, query) for place in (direct, through))
        found[name] = ours.shown() | {"same": (ours.status, len(ours.body)) == (theirs.status, len(theirs.body))}
    wrong = [] if all(answer["same"] for answer in found.values()) else ["hotset"]
    report("region.through-hotset", {"same": True}, {}, found, wrong)


def test_hotset_checks_the_bucket(hotset, report):
    """`hotset check --online`: addresses, TLS, signature, one list, the clock."""
    done = hotset.run("check", "--online", "--bucket", BUCKET, "--config", hotset.config)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    # Those of a private endpoint are nobody else's business.
    steps = [ADDRESS.sub("ADDRESS", line).split(":")[0].strip() for line in lines]
    wrong = ["hotset"] if done.returncode else []
    report("account.check-online", {"exit": 0}, {}, {"exit": done.returncode, "steps": steps}, wrong)


def test_nothing_is_left(written):
    """The last of all: removes what was written, and looks for it by each of S3's lists. conftest.py puts it there."""
    left = written.remove()
    assert not left, f"left in the bucket: {left}"
