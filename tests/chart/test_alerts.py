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
    for panel in PANELS:
        for target in panel["targets"]:
            query = re.sub(r"\$__rate_interval", "5m", target["expr"])
            assert named(query) <= known, panel["title"]


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
