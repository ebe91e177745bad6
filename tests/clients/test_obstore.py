"""obstore, the Rust crate object_store under Python: what DataFusion, polars and delta-rs read with."""

from datetime import timedelta

import obstore
import pytest
from obstore.store import S3Store

from servers import REGION, Endpoint


def store(to: Endpoint, bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=to.endpoint,
        access_key_id=to.access,
        secret_access_key=to.secret,
        region=REGION,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


@pytest.fixture(scope="module")
def direct(server, pair) -> S3Store:
    return store(server, pair.bucket)


@pytest.fixture(scope="module")
def through(hotset, pair) -> S3Store:
    return store(hotset, pair.bucket)


def everything(result) -> tuple:
    meta = {name: result.meta[name] for name in ("path", "size", "e_tag", "last_modified")}
    return meta, dict(result.attributes), result.range, bytes(result.bytes())


@pytest.mark.parametrize("key", ["plain", "a b/ü+x%.txt", "deep/er/and/er"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"range": (0, 1)},
        {"range": (65_000, 140_000)},
        {"range": {"offset": 299_000}},
        {"range": {"suffix": 70_000}},
    ],
    ids=str,
)
def test_get(pair, direct, through, some_bytes, key, options):
    key = f"{key}/{len(str(options))}"
    pair.put(some_bytes, key=key, ContentType="x/y", Metadata={"m": "1"})
    expected = everything(obstore.get(direct, key, options=options))
    for _ in ("cold", "warm"):
        assert everything(obstore.get(through, key, options=options)) == expected


def test_ranges(pair, direct, through, some_bytes):
    key = pair.put(some_bytes)
    starts = [0, 65_530, 131_072, 250_000, 299_990]
    ends = [10, 65_546, 131_073, 299_999, 300_007]
    for _ in ("cold", "warm"):
        got = obstore.get_ranges(through, key, starts=starts, ends=ends)
        assert [bytes(part) for part in got] == [
            some_bytes[start:end] for start, end in zip(starts, ends)
        ]


def test_stream(pair, through, some_bytes):
    key = pair.put(some_bytes * 9)
    for _ in ("cold", "warm"):
        stream = obstore.get(through, key).stream(min_chunk_size=100_000)
        assert b"".join(bytes(chunk) for chunk in stream) == some_bytes * 9


def test_head_and_list(pair, direct, through):
    keys = [pair.put(b"x" * n, key=f"listed/{n} ü+") for n in range(5)]
    for key in keys:
        assert obstore.head(through, key) == obstore.head(direct, key)
    for listed in (
        lambda s: sorted(obstore.list(s, "listed").collect(), key=lambda meta: meta["path"]),
        lambda s: obstore.list_with_delimiter(s),
    ):
        assert listed(through) == listed(direct)


def test_conditions(pair, direct, through):
    key = pair.put(b"conditional")
    meta = obstore.head(direct, key)
    for options in (
        {"if_match": '"0123"'},
        {"if_none_match": meta["e_tag"]},
        {"if_modified_since": meta["last_modified"]},
        {"if_unmodified_since": meta["last_modified"] - timedelta(hours=1)},
    ):
        kinds = []
        for files in (direct, through, through):
            with pytest.raises(Exception) as raised:
                obstore.get(files, key, options=options)
            kinds.append(type(raised.value))
        assert kinds[0] is kinds[1] is kinds[2], options


def test_missing(direct, through):
    for files in (direct, through, through):
        with pytest.raises(FileNotFoundError):
            obstore.get(files, "never there")


@pytest.mark.parametrize("size", [0, 1, 300_007, 6_000_000], ids=str)
def test_put_is_read_at_once(direct, through, some_bytes, size):
    for body in (b"before", (some_bytes * 20)[:size]):
        obstore.put(through, f"put/{size}", body, attributes={"Content-Type": "x/put"})
        for files in (through, direct):
            result = obstore.get(files, f"put/{size}")
            assert result.attributes["Content-Type"] == "x/put"
            assert bytes(result.bytes()) == body


def test_multipart_copy_and_delete(direct, through, some_bytes):
    body = some_bytes * 40
    obstore.put(through, "multipart", body, use_multipart=True, chunk_size=5 * 1024 * 1024)
    obstore.copy(through, "multipart", "copied")
    for key in ("multipart", "copied"):
        for files in (direct, through):
            assert bytes(obstore.get(files, key).bytes()) == body
    obstore.delete(through, ["multipart", "copied"])
    for key in ("multipart", "copied"):
        with pytest.raises(FileNotFoundError):
            obstore.get(through, key)
