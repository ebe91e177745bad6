"""The rules in Prometheus's own engine, by promtool: each alert fires on the series that it is for, and not on like ones."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).resolve().parents[2] / "conf" / "prometheus" / "hotset.rules.yaml"
ALL = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: Debian's package is prometheus")

POD = 'instance="10.0.0.1:9001",pod="p-0"'
READ = 'hotset_requests_total{{operation="GetObject",cache="{cache}",status="2xx"}}'
HITS, MISSES = READ.format(cache="hit"), READ.format(cache="miss")
LAG = 'hotset_event_lag_seconds_bucket{{bucket="photos",source="sqs",le="{le}"}}'
ORIGIN = 'hotset_origin_requests_total{{kind="get",outcome="{outcome}"}}'
WEEK = 7 * 86400


def steady(value: float) -> str:
    """A gauge that stays, for three hours; a sample a minute."""
    return f"{value}x180"


def rising(step: float) -> str:
    """A counter."""
    return f"0+{step}x180"


def lags(fast: float, slow: float) -> dict[str, str]:
    """Events a minute that come within 10 s, and between 60 s and 300 s."""
    return {
        LAG.format(le="10"): rising(fast),
        LAG.format(le="60"): rising(fast),
        LAG.format(le="300"): rising(fast + slow),
        LAG.format(le="+Inf"): rising(fast + slow),
    }


# Alert: series on which it fires, and series on which it must not.
CASES = {
    "HotsetNotScraped": ({"up": steady(0)}, {"up": steady(1)}),
    "HotsetErrors": (
        {HITS: rising(600), 'hotset_requests_total{operation="GetObject",status="5xx"}': rising(12)},
        # Half of two requests a minute is no trend.
        {HITS: rising(1), 'hotset_requests_total{operation="GetObject",status="5xx"}': rising(1)},
    ),
    "HotsetOriginFails": (
        {ORIGIN.format(outcome="ok"): rising(90), ORIGIN.format(outcome="timeout"): rising(10)},
        {ORIGIN.format(outcome="ok"): rising(97), ORIGIN.format(outcome="timeout"): rising(3)},
    ),
    "HotsetOriginDenies": (
        {ORIGIN.format(outcome="denied"): rising(1)},
        # A client's request that the origin denied is the client's.
        {'hotset_origin_requests_total{kind="passthrough",outcome="denied"}': rising(1)},
    ),
    "HotsetMemoryInFlightFull": (
        {"hotset_in_flight_bytes": steady(96), "hotset_in_flight_limit_bytes": steady(100)},
        {"hotset_in_flight_bytes": steady(94), "hotset_in_flight_limit_bytes": steady(100)},
    ),
    "HotsetDiskFails": (
        {'hotset_disk_failures_total{path="/d",reason="damaged"}': rising(1)},
        # The limit on reads under way is no failure of the device.
        {'hotset_disk_failures_total{path="/d",reason="busy"}': rising(1)},
    ),
    "HotsetEventsDisconnected": (
        {'hotset_event_receiver_up{source="sqs",name="q"}': steady(0)},
        {'hotset_event_receiver_up{source="sqs",name="q"}': steady(1)},
    ),
    "HotsetEventsLate": (lags(8, 2), lags(95, 5)),
    "HotsetReloadFails": (
        {"hotset_config_last_reload_successful": steady(0)},
        {"hotset_config_last_reload_successful": steady(1)},
    ),
    "HotsetHitRatioFalls": (
        {HITS: "0+90x100 9000+10x80", MISSES: "0+10x100 1000+90x80"},
        # As many hits fewer, but hardly a read a minute.
        {HITS: "0+0.9x100 90+0.1x80", MISSES: "0+0.1x100 10+0.9x80"},
    ),
    "HotsetOriginBreakerOpen": (
        {"hotset_origin_breaker_open": steady(1)},
        {"hotset_origin_breaker_open": steady(0)},
    ),
    "HotsetCredentialsExpire": (
        {"hotset_credentials_expiry_timestamp_seconds": steady(180 * 60 - 60)},
        # Keys that never expire.
        {"hotset_credentials_expiry_timestamp_seconds": steady(0)},
    ),
    "HotsetTrustLost": (
        {"hotset_events_trusted": "2x150 0x30"},
        # Nothing has been trusted, so nothing was lost.
        {"hotset_events_trusted": steady(0)},
    ),
    "HotsetRequestsRefused": (
        {'hotset_refused_total{reason="requests_in_flight"}': rising(1)},
        {'hotset_refused_total{reason="malformed"}': rising(1)},
    ),
    "HotsetDiskQueueFull": (
        {'hotset_disk_skips_total{path="/d",reason="queue_full"}': rising(1)},
        {'hotset_disk_skips_total{path="/d",reason="not_admitted"}': rising(1)},
    ),
    "HotsetRestarts": (
        {"process_start_time_seconds": "1x150 2x9 3x9 4x9"},
        {"process_start_time_seconds": "1x150 2x30"},
    ),
    "HotsetOriginDown": ({"hotset_origin_up": steady(0)}, {"hotset_origin_up": steady(1)}),
    "HotsetFailoverActive": (
        {'hotset_failover_reads_total{origin="replica"}': rising(1)},
        {'hotset_failover_reads_total{origin="replica"}': steady(7)},
    ),
    "HotsetCacheTooSmall": (
        {HITS: rising(600), MISSES: rising(400), 'hotset_misses_total{reason="evicted"}': rising(300)},
        {HITS: rising(600), MISSES: rising(400), 'hotset_misses_total{reason="new"}': rising(300)},
    ),
    "HotsetLimitNearlyUsed": (
        {'hotset_limit_used{limit="limits.requests"}': steady(95), 'hotset_limit{limit="limits.requests"}': steady(100)},
        {'hotset_limit_used{limit="limits.requests"}': steady(85), 'hotset_limit{limit="limits.requests"}': steady(100)},
    ),
    "HotsetFilesNearlyUsed": (
        {"process_open_fds": steady(950), "process_max_fds": steady(1000)},
        {"process_open_fds": steady(850), "process_max_fds": steady(1000)},
    ),
    "HotsetMemoryNearlyUsed": (
        {"hotset_memory_used_bytes": steady(96), "hotset_memory_limit_bytes": steady(100)},
        # No limit.
        {"hotset_memory_used_bytes": steady(96), "hotset_memory_limit_bytes": steady(0)},
    ),
    "HotsetCertificateExpires": (
        {'hotset_certificate_expiry_timestamp_seconds{certificate="/tls.crt"}': steady(180 * 60 + WEEK - 7200)},
        {'hotset_certificate_expiry_timestamp_seconds{certificate="/tls.crt"}': steady(180 * 60 + WEEK + 7200)},
    ),
    "HotsetCertificateExpired": (
        {'hotset_certificate_expiry_timestamp_seconds{certificate="/tls.crt"}': steady(180 * 60 - 60)},
        {'hotset_certificate_expiry_timestamp_seconds{certificate="/tls.crt"}': steady(180 * 60 + 7200)},
    ),
    "HotsetChecksumMismatch": (
        {'hotset_origin_checksums_total{algorithm="crc32c",outcome="mismatch"}': "0x150 1x30"},
        {'hotset_origin_checksums_total{algorithm="crc32c",outcome="match"}': rising(9)},
    ),
    "HotsetHitsWrong": (
        {'hotset_hit_verifications_total{outcome="corrupt"}': "0x150 1x30"},
        {'hotset_hit_verifications_total{outcome="match"}': rising(9)},
    ),
    "HotsetHitsOld": (
        {
            'hotset_hit_verifications_total{outcome="match"}': rising(97),
            'hotset_hit_verifications_total{outcome="changed"}': rising(3),
        },
        {
            'hotset_hit_verifications_total{outcome="match"}': rising(997),
            'hotset_hit_verifications_total{outcome="changed"}': rising(3),
        },
    ),
    "HotsetCanariesMissed": (
        {'hotset_event_canaries_total{result="missed"}': "0x175 1x5"},
        {'hotset_event_canaries_total{result="seen"}': rising(1)},
    ),
    "HotsetPeersGone": (
        {'hotset_peers{state="gone"}': steady(1)},
        {'hotset_peers{state="live"}': steady(2), 'hotset_peers{state="gone"}': steady(0)},
    ),
    "HotsetLogLinesDropped": (
        {'hotset_log_lines_dropped_total{log="audit"}': rising(1)},
        {'hotset_log_lines_dropped_total{log="audit"}': steady(3)},
    ),
}

# Recording rule: series and the samples that come of them.
RECORDED = {
    "hotset:reads:rate5m": ({HITS: rising(60), MISSES: rising(60), READ.format(cache="bypass"): rising(60)}, {"": 2.0}),
    "hotset:hit_ratio:rate5m": ({HITS: rising(90), MISSES: rising(30)}, {"": 0.75}),
    "hotset:byte_hit_ratio:rate5m": (
        {
            'hotset_response_bytes_total{source="disk"}': rising(60),
            'hotset_response_bytes_total{source="origin"}': rising(60),
            'hotset_response_bytes_total{source="passthrough"}': rising(600),
        },
        {"": 0.5},
    ),
    "hotset:first_byte_seconds:p99_5m": (
        {
            'hotset_first_byte_seconds_bucket{operation="GetObject",cache="hit",le="0.1"}': rising(100),
            'hotset_first_byte_seconds_bucket{operation="GetObject",cache="hit",le="+Inf"}': rising(100),
        },
        {"": 0.099},
    ),
    "hotset:origin_failures:ratio5m": (
        {ORIGIN.format(outcome="ok"): rising(75), ORIGIN.format(outcome="broken"): rising(25)},
        {"": 0.25},
    ),
    "hotset:misses:rate5m": (
        {'hotset_misses_total{reason="new"}': rising(60), 'hotset_misses_total{reason="expired"}': rising(120)},
        {'reason="new"': 1.0, 'reason="expired"': 2.0},
    ),
    "hotset:evictions:rate5m": (
        {'hotset_cache_evictions_total{tier="memory",reason="capacity"}': rising(60)},
        {'tier="memory",reason="capacity"': 1.0},
    ),
    "hotset:origin_errors:rate5m": ({'hotset_origin_errors_total{reason="tls"}': rising(60)}, {'reason="tls"': 1.0}),
    "hotset:read_amplification:ratio5m": (
        {"hotset_origin_received_bytes_total": rising(90), 'hotset_response_bytes_total{source="memory"}': rising(60)},
        {"": 1.5},
    ),
    "hotset:saved_bytes:rate5m": ({"hotset_saved_bytes_total": rising(60)}, {"": 1.0}),
    "hotset:limit_used:ratio": (
        {'hotset_limit_used{limit="x"}': steady(1), 'hotset_limit{limit="x"}': steady(4)},
        {f'limit="x",{POD}': 0.25},
    ),
    "hotset:event_lag_seconds:p90_15m": (lags(100, 0), {'bucket="photos"': 9.0}),
}


def labelled(name: str, *labels: str) -> str:
    """A series of the job `hotset`."""
    return name + "{" + ",".join(filter(None, [*labels, 'job="hotset"'])) + "}"


def promtool(tmp_path: Path, series: dict[str, str], **tests) -> None:
    split = [(name.rstrip("}").partition("{"), values) for name, values in series.items()]
    inputs = [{"series": labelled(name, labels, POD), "values": values} for (name, _, labels), values in split]
    test = {"interval": "1m", "input_series": inputs, **tests}
    path = tmp_path / "rules.test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "3m", "tests": [test]}))
    run = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def fires(alert: str, times: int) -> dict:
    """That the alert is firing so many times at the end of three hours."""
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {"expr": query, "eval_time": "3h", "exp_samples": [{"labels": "{}", "value": times}]}


def test_prometheus_takes_all_rules():
    subprocess.run([PROMTOOL, "check", "rules", "--lint=all", "--lint-fatal", RULES], check=True, timeout=60)


def test_every_rule_has_its_case():
    assert list(CASES) == [rule["alert"] for rule in ALL if "alert" in rule]
    assert list(RECORDED) == [rule["record"] for rule in ALL if "record" in rule]


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_series(alert, tmp_path):
    promtool(tmp_path, CASES[alert][0], promql_expr_test=[fires(alert, 1)])


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_is_silent_on_what_is_like_its_series(alert, tmp_path):
    promtool(tmp_path, CASES[alert][1], promql_expr_test=[fires(alert, 0)])


@pytest.mark.parametrize("rule", RECORDED)
def test_a_recording_rule_computes_what_it_is_named_after(rule, tmp_path):
    series, expected = RECORDED[rule]
    samples = [{"labels": labelled(rule, labels), "value": value} for labels, value in expected.items()]
    promtool(tmp_path, series, promql_expr_test=[{"expr": rule, "eval_time": "3h", "exp_samples": samples}])


@pytest.mark.parametrize("pod, named", [("", "10.0.0.1:9001"), (',pod="p-0"', "p-0")])
def test_an_alert_names_the_pod_and_without_kubernetes_the_instance(pod, named, tmp_path):
    rule = next(rule for rule in ALL if rule.get("alert") == "HotsetOriginBreakerOpen")
    labels = {"instance": "10.0.0.1:9001", "job": "hotset", "severity": "critical"} | ({"pod": "p-0"} if pod else {})
    annotations = rule["annotations"] | {"summary": f"{named} only probes its origin, which fails"}
    series = f'hotset_origin_breaker_open{{instance="10.0.0.1:9001",job="hotset"{pod}}}'
    alerts = [{"exp_labels": labels, "exp_annotations": annotations}]
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "1x60"}],
        "alert_rule_test": [{"eval_time": "1h", "alertname": rule["alert"], "exp_alerts": alerts}],
    }
    path = tmp_path / "rules.test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "3m", "tests": [test]}))
    run = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_summary_names_a_pod_alone():
    for rule in ALL:
        text = str(rule.get("annotations", {}))
        assert not re.search(r"\{\{ *\$labels\.pod *\}\}", text), rule["alert"]
