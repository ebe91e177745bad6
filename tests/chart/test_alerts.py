"""The recording and alerting rules, by the grammar of PromQL, against the metrics that there are and the runbook."""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "hotset"
RULES = yaml.safe_load((CHART / "alerts" / "hotset.yaml").read_text().replace("THESE", 'job="x",namespace="y"'))
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS = json.loads((CHART / "dashboards" / "hotset.json").read_text())["panels"]


def selectors(expression) -> list:
    """All selectors of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        return [expression]
    found = []
    for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
        part = getattr(expression, name, None)
        for one in part if isinstance(part, list) else [part]:
            if one is not None and not isinstance(one, (str, float, int)):
                found += selectors(one)
    return found


def panel_targets() -> list[dict]:
    """The queries of all panels, with times in place of Grafana's variables."""
    targets = [target for panel in PANELS for target in panel.get("targets", [])]
    return [target | {"expr": re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])} for target in targets]


def named(query: str) -> set[str]:
    return {selector.name for selector in selectors(promql_parser.parse(query))}


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Each series that the server has, by the reference that is generated from it; `up` is Prometheus's own."""
    names = re.findall(r"^## `([a-z_]+)`\n\n(.*)$", (ROOT / "docs/reference/metrics.md").read_text(), re.M)
    assert len(names) > 40
    series = {"up"}
    for name, text in names:
        series |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if "histogram" in text else {name}
    return series


def test_every_rule_is_promql_over_series_that_exist(known):
    for rule in RULES:
        asked = named(rule["expr"])
        assert asked, rule
        assert asked <= known | RECORDED, rule.get("alert", rule.get("record"))


def test_every_panel_is_promql_over_series_that_exist(known):
    for target in panel_targets():
        assert named(target["expr"]) <= known, target["expr"]


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[str, set[str]]]:
    """The labels of each metric with their values, none: any, by the same reference."""
    found = {}
    for part in (ROOT / "docs/reference/metrics.md").read_text().split("\n## ")[1:]:
        name = re.match(r"`([a-z_]+)`", part)[1]
        rows = re.findall(r"^- `(\w+)`: (.*)$", part, re.M)
        found[name] = {label: set(re.findall(r"`([^`]+)`", values)) for label, values in rows}
    return found


TARGET = {"job", "namespace", "pod", "instance"}


def wrong_matchers(query: str, labels: dict) -> list[str]:
    """What of a query matches no series, whatever happens: labels and values that a metric does not have."""
    wrong = []
    for selector in selectors(promql_parser.parse(query)):
        name = re.sub("_(bucket|sum|count)$", "", selector.name)
        if name in RECORDED or name == "up" or name not in labels:
            continue
        for matcher in selector.matchers.matchers:
            values = labels[name].get(matcher.name)
            if matcher.name in TARGET | {"le"} or values == set():
                continue
            named = set(matcher.value.split("|"))
            if values is None or not named <= values:
                wrong.append(f"{selector.name}: {matcher.name}={matcher.value}")
    return wrong


def test_every_label_and_value_that_is_matched_exists(labels):
    queries = [rule["expr"] for rule in RULES]
    queries += [target["expr"] for target in panel_targets()]
    assert len(queries) > 50
    assert [wrong for query in queries for wrong in wrong_matchers(query, labels)] == []


def test_every_label_that_is_summed_by_or_shown_exists(labels):
    for target in panel_targets():
        metrics = {re.sub("_(bucket|sum|count)$", "", name) for name in named(target["expr"])}
        known = TARGET.union({"le"}, *(labels[metric] for metric in metrics))
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        for grouped in re.findall(r"by \(([^)]*)\)", target["expr"]):
            shown |= {label.strip() for label in grouped.split(",")}
        assert shown <= known, target


# What an operator looks for first; each is on the dashboard.
SHOWN = """
    hotset_origin_up hotset_origin_address_up hotset_origin_address_failures_total hotset_origin_errors_total hotset_origin_breaker_open hotset_failover_reads_total hotset_misses_total
    hotset_cache_evictions_total hotset_cache_eviction_age_seconds_bucket hotset_errors_total hotset_responses_total
    hotset_saved_bytes_total hotset_saved_requests_total hotset_saved_dollars_total hotset_limit hotset_limit_used
    hotset_limit_peak hotset_credentials_expiry_timestamp_seconds hotset_certificate_expiry_timestamp_seconds
    hotset_event_lag_seconds_bucket hotset_events_last_timestamp_seconds hotset_rule_trusted_buckets
    hotset_disk_failures_total hotset_disk_capacity_bytes process_start_time_seconds process_open_fds
    hotset_config_last_reload_successful hotset_origin_checksums_total hotset_hit_verifications_total
    hotset_bucket_requests_total hotset_rule_requests_total hotset_identity_requests_total hotset_log_lines_dropped_total
""".split()


def test_the_dashboard_shows_what_operators_look_for():
    shown = set().union(*(named(target["expr"]) for target in panel_targets()))
    assert set(SHOWN) - shown == set()


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = set()
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        cells |= covered


def test_every_selector_is_bound_to_the_release():
    for rule in RULES:
        for selector in selectors(promql_parser.parse(rule["expr"])):
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert {"job", "namespace"} <= labels, rule


def test_every_alert_says_what_to_do_and_names_its_runbook():
    anchors = {
        heading.lower() for heading in re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.M)
    }
    for alert in ALERTS:
        annotations = alert["annotations"]
        assert annotations["summary"] and annotations["description"], alert
        assert annotations["runbook"] == f"docs/alerts.md#{alert['alert'].lower()}"
    assert anchors == {alert["alert"].lower() for alert in ALERTS}


def test_an_alert_waits_longer_than_a_scrape_unless_it_counts_over_a_longer_time():
    for alert in ALERTS:
        assert "for" in alert or re.search(r"\[(15m|1h)\]", alert["expr"]), alert["alert"]
