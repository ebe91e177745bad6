"""Web pages of an allowed and of another origin, against a real server's CORS rules: as directly (R39)."""

import pytest
import requests

PAGE = "https://app.example.org"
STRANGER = "https://evil.example"
RULES = {
    "CORSRules": [
        {
            "AllowedOrigins": [PAGE],
            "AllowedMethods": ["GET", "HEAD", "PUT"],
            "AllowedHeaders": ["content-type", "range"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 600,
        }
    ]
}


@pytest.fixture(scope="module")
def cors(pair):
    """A pair whose bucket has CORS rules, set through hotset."""
    if pair.server.name == "moto":
        pytest.skip("moto answers every page with `*`, whatever the rules say")
    client = pair.through.client
    client.put_bucket_cors(Bucket=pair.bucket, CORSConfiguration=RULES)
    assert client.get_bucket_cors(Bucket=pair.bucket)["CORSRules"][0]["AllowedOrigins"] == [PAGE]
    return pair


def ask(method: str, url: str, origin: str, **headers) -> tuple[int, dict[str, str]]:
    """The status, and the headers by which a browser decides."""
    body = b"from a page" if method == "PUT" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = requests.request(method, url, headers={"Origin": origin} | named, data=body, timeout=30)
    told = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status_code, {name: told[name] for name in told if name.startswith("access-control-")}


def presigned(caller, operation: str, bucket: str, key: str) -> str:
    return caller.client.generate_presigned_url(operation, {"Bucket": bucket, "Key": key})


@pytest.mark.parametrize("origin", [PAGE, STRANGER])
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_r39_a_preflight_of_a_presigned_url(cors, prefix, origin, method):
    key = f"{prefix}upload"
    wanted = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": "content-type"}
    direct, through = (
        ask("OPTIONS", presigned(caller, "put_object", cors.bucket, key), origin, **wanted)
        for caller in (cors.direct, cors.through)
    )
    assert through == direct
    allowed = origin == PAGE and method != "DELETE"
    assert (through[0] == 200 and through[1].get("access-control-allow-origin") == PAGE) == allowed


@pytest.mark.parametrize("origin", [PAGE, STRANGER])
def test_r39_a_browser_uploads_and_reads(cors, prefix, origin):
    key = f"{prefix}object"
    for method, operation in (("PUT", "put_object"), ("GET", "get_object"), ("GET", "get_object")):
        direct, through = (
            ask(method, presigned(caller, operation, cors.bucket, key), origin)
            for caller in (cors.direct, cors.through)
        )
        assert through == direct, operation
        assert through[0] == 200
        assert (through[1].get("access-control-allow-origin") == PAGE) == (origin == PAGE)
    assert requests.get(presigned(cors.through, "get_object", cors.bucket, key), timeout=30).content == b"from a page"


def test_r39_a_refusal_of_ours_is_read_by_an_allowed_page_alone(cors, prefix, mode):
    """A browser shows a script the error of a response only if CORS allows the page to read it."""
    if mode != "verify":
        pytest.skip("only verify refuses a signature")
    good = presigned(cors.through, "put_object", cors.bucket, f"{prefix}refused")
    ask("OPTIONS", good, PAGE, Access_Control_Request_Method="PUT")
    broken = good[:-4] + "0000"
    status, told = ask("PUT", broken, PAGE)
    assert status == 403
    assert told.get("access-control-allow-origin") == PAGE
    status, told = ask("PUT", broken, STRANGER)
    assert status == 403
    assert "access-control-allow-origin" not in told
