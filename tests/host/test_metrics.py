"""`/metrics` of a running server, by the parsers of Prometheus's own client library."""

import gzip
import os
import time
import urllib.request

import pytest
import yaml
from processes import Process, answers_ok, environment, free_port
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"


@pytest.fixture
def server(program, origin, tmp_path):
    """A server with a disk whose path needs escaping, after a hit, a miss and an error."""
    port, admin = free_port(), free_port()
    config = {
        "listen": [{"address": f"127.0.0.1:{port}"}],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "origin": {"endpoint": origin},
        "cache": {"memory": "64MiB", "disk": [{"path": f'{tmp_path}/a "disk" \\', "capacity": "256MiB"}]},
    }
    path = tmp_path / "hotset.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [program, "serve", "--config", path]
    keys = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sk"}
    process = Process("hotset", command, tmp_path / "log", environment(**keys))
    process.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"))
    for _ in range(2):
        answers_ok(f"http://127.0.0.1:{port}/samples/hello.txt")
    yield f"http://127.0.0.1:{admin}"
    process.stop()


def get(url: str, **headers: str):
    asked = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.headers, answer.read()


def samples(families) -> dict:
    """Values by name and labels; the bounds of buckets are numbers, which the formats write differently."""

    def labels(sample) -> tuple:
        return tuple(sorted((name, float(value) if name == "le" else value) for name, value in sample.labels.items()))

    return {(sample.name, labels(sample)): sample.value for family in families for sample in family.samples}


def test_both_formats_are_read_by_prometheus_and_say_the_same(server):
    headers, page = get(f"{server}/metrics", Accept=OPENMETRICS)
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    modern = list(openmetrics_parser.text_string_to_metric_families(page.decode()))
    headers, page = get(f"{server}/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    classic = list(parser.text_string_to_metric_families(page.decode()))
    assert len(modern) > 70
    assert {family.name for family in modern} == {family.name for family in classic}
    assert {f.name: f.type for f in modern} == {f.name: f.type for f in classic}
    assert all(family.documentation for family in modern)
    named = {family.name: family for family in modern}
    for name in ["hotset_disk_capacity_bytes", "hotset_disk_bytes", "hotset_disk_failures"]:
        assert all(s.labels["path"].endswith('/a "disk" \\') for s in named[name].samples), name
    # All series, whatever their values, which move on.
    assert samples(modern).keys() == samples(classic).keys()


def test_it_is_compressed_for_whoever_takes_gzip(server):
    headers, page = get(f"{server}/metrics", Accept=OPENMETRICS, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    text = gzip.decompress(page).decode()
    assert text.endswith("# EOF\n") and len(page) * 4 < len(text)
    headers, page = get(f"{server}/metrics", Accept_Encoding="gzip;q=0, identity")
    assert headers["content-encoding"] is None and page.startswith(b"# ")


def test_the_process_is_the_one_that_runs(server):
    _, page = get(f"{server}/metrics")
    value = samples(parser.text_string_to_metric_families(page.decode()))
    assert 0 <= time.time() - value["process_start_time_seconds", ()] < 600
    assert value["process_cpu_seconds_total", ()] > 0
    assert value["process_open_fds", ()] <= value["process_max_fds", ()]
    page = os.sysconf("SC_PAGE_SIZE")
    assert value["process_resident_memory_bytes", ()] % page == 0
    info = [labels for name, labels in value if name == "hotset_build_info"]
    assert len(info) == 1 and dict(info[0])["version"]
