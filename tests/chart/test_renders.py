"""Every set of values: rendered by both Helms alike, linted, valid for old and new clusters, safe."""

import json

import kubernetes_validate
import pytest
import yaml
from conftest import NAMES, ROOT, values
from helms import CHART
from standards import carelessness, violations
from workloads import CUSTOM, configuration, containers, of_kind, one, pod_specs, workload

OLDEST, MIDDLE, NEWEST = "1.25.0", "1.31.0", "1.37.0"


@pytest.mark.parametrize("name", NAMES)
def test_both_helms_render_the_same(helm3, helm4, name):
    assert helm4.render(values(name)) == helm3.render(values(name), helm4.kube())


@pytest.mark.parametrize("name", NAMES)
def test_both_helms_find_nothing_to_lint(helm3, helm4, name):
    helm3.lint(values(name))
    assert helm4.lint(values(name))["messages"] == []


@pytest.mark.parametrize("kube", [OLDEST, MIDDLE, NEWEST])
@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_takes_every_object(helm3, name, kube):
    objects = [found for found in helm3.render(values(name), kube) if found["kind"] not in CUSTOM]
    assert objects
    for found in objects:
        kubernetes_validate.validate(found, kube.removesuffix(".0"), strict=True)


def test_a_field_that_is_misspelt_would_be_found(helm3):
    deployment = one(helm3.render({}), "Deployment")
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_pods_meet_the_standard_restricted(helm3, name):
    for what, spec in pod_specs(helm3.render(values(name))).items():
        expected = (
            ["volume disk is hostPath"] if name == "daemonset-host-path" and "DaemonSet" in what else []
        )
        assert violations(spec) == expected, what


@pytest.mark.parametrize("name", NAMES)
def test_containers_have_limits_versions_and_root_file_systems_that_only_can_be_read(helm3, name):
    for what, spec in pod_specs(helm3.render(values(name))).items():
        for container in containers(spec):
            # Those that a user adds are the user's.
            if container["name"] in ("hotset", "router", "miss-and-hit"):
                assert carelessness(container) == [], what


@pytest.mark.parametrize("name", NAMES)
def test_every_object_is_in_the_namespace_and_labelled(helm3, name):
    for found in helm3.render(values(name)):
        if found["metadata"]["name"] not in ("cache-text", "cache-map"):
            assert found["metadata"]["namespace"] == "apps"
            assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "cache"


def test_no_object_selects_the_pod_of_the_test(helm3):
    rendered = helm3.render(values("statefulset-everything"))
    labels = one(rendered, "Pod")["metadata"]["labels"].items()
    selectors = [found["spec"]["selector"] for found in of_kind(rendered, "Service")]
    selectors.append(workload(rendered)["spec"]["selector"]["matchLabels"])
    assert selectors and not any(selector.items() <= labels for selector in selectors)


def test_the_cache_follows_the_limit_of_memory(helm3):
    sizes = {
        "512Mi": ("256MiB", "128MiB", "48MiB"),
        "2Gi": ("1024MiB", "512MiB", "192MiB"),
        "1.5Gi": ("768MiB", "384MiB", "144MiB"),
        "4G": ("1907MiB", "953MiB", "357MiB"),
        "1073741824": ("512MiB", "256MiB", "96MiB"),
    }
    for limit, expected in sizes.items():
        for written in [limit, int(limit)] if limit.isdigit() else [limit]:
            cache = configuration(helm3.render({"resources": {"limits": {"memory": written}}}))["cache"]
            assert (cache["memory"], cache["in_flight"], cache["read_ahead"]) == expected, limit


def test_what_the_configuration_says_is_not_overridden(helm3):
    config = {
        "cache": {"memory": "3GiB"},
        "auth": {"mode": "trust", "open": False, "writes": True},
        "shutdown": {"delay": "0s"},
    }
    rendered = configuration(helm3.render({"config": config}))
    assert rendered["auth"] == config["auth"]
    assert rendered["cache"]["memory"] == "3GiB" and rendered["cache"]["in_flight"] == "512MiB"
    assert rendered["shutdown"] == {"delay": "0s"}


def test_a_pod_has_the_time_that_its_end_takes(helm3):
    for shutdown, seconds in [
        ({}, 50),
        ({"grace": "2m"}, 140),
        ({"delay": "1500ms", "grace": "1m30s"}, 102),
        ({"delay": 0, "grace": "0s"}, 10),
    ]:
        spec = workload(helm3.render({"config": {"shutdown": shutdown}}))["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] == seconds, shutdown
    spec = workload(helm3.render(values("scheduled")))["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 120


def test_probes_and_scrapes_follow_tls_on_the_admin_port(helm3):
    monitors = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    tls = {"cert": "/tls/tls.crt", "key": "/tls/tls.key"}
    for config, scheme in [({}, None), ({"admin": {"tls": tls}}, "HTTPS")]:
        rendered = helm3.render({"metrics": monitors, "config": config})
        container = workload(rendered)["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"].get("scheme") == scheme, probe
        for kind, endpoints in [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]:
            (endpoint,) = of_kind(rendered, kind)[0]["spec"][endpoints]
            assert endpoint.get("scheme") == (scheme.lower() if scheme else None), kind
            assert ("tlsConfig" in endpoint) == bool(scheme), kind
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}


def test_routers_check_pods_by_tls_where_the_admin_port_speaks_it(helm3):
    changed = values("statefulset-router")
    plain = str(helm3.render(changed))
    changed.setdefault("config", {}).setdefault("admin", {})["tls"] = {"cert": "/c", "key": "/k"}
    assert "check-ssl" not in plain and "check check-ssl verify none port" in str(helm3.render(changed))


def test_a_larger_disk_has_longer_to_start(helm3):
    thresholds = [
        workload(helm3.render({"mode": "statefulset", "disk": {"size": size}}))["spec"]["template"]["spec"][
            "containers"
        ][0]["startupProbe"]["failureThreshold"]
        for size in ("10Gi", "1Ti", "10Ti")
    ]
    assert thresholds == [14, 217, 2060]


def test_clients_reach_their_own_node_and_zone_as_far_as_the_cluster_knows_how(helm3):
    def traffic(mode: str, kube: str) -> tuple[str | None, str | None]:
        spec = one(helm3.render({"mode": mode}, kube), "Service", "cache-hotset")["spec"]
        return spec.get("internalTrafficPolicy"), spec.get("trafficDistribution")

    assert [traffic("daemonset", kube) for kube in ("1.30.0", "1.33.0", "1.34.0")] == [
        ("Local", None),
        ("Local", None),
        (None, "PreferSameNode"),
    ]
    assert [traffic("deployment", kube) for kube in ("1.30.0", "1.31.0", "1.34.0")] == [
        (None, None),
        (None, "PreferClose"),
        (None, "PreferSameZone"),
    ]


def test_a_pod_begins_anew_when_its_configuration_changes_and_only_then(helm3):
    def checksum(changed: dict) -> str:
        return workload(helm3.render(changed))["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]

    assert checksum({}) == checksum({"replicas": 5, "identities": {"existingSecret": ""}})
    assert checksum({}) != checksum({"config": {"log": {"level": "debug"}}})
    assert checksum({}) != checksum({"resources": {"limits": {"memory": "3Gi"}}})


def test_pods_that_reload_their_configuration_are_not_replaced_for_it(helm3):
    def rendered(changed: dict) -> tuple[str, object]:
        files = helm3.render(changed)
        annotations = workload(files)["spec"]["template"]["metadata"]["annotations"]
        [config] = [found for found in of_kind(files, "ConfigMap") if "hotset.yaml" in found["data"]]
        return annotations["checksum/config"], yaml.safe_load(config["data"]["hotset.yaml"])

    assert rendered({})[1]["reload"] is None, "until they are replaced they keep it"
    (checksum, config) = rendered({"reload": True})
    assert "reload" not in config, "the default of hotset"
    changed = rendered({"reload": True, "config": {"log": {"level": "debug"}}})
    assert (changed[0], changed[1]["log"]["level"]) == (checksum, "debug")
    assert rendered({"config": {"reload": "1m"}})[1]["reload"] == "1m"


def test_nothing_differs_from_one_rendering_to_the_next(helm4):
    everything = values("statefulset-everything")
    assert helm4.files(everything) == helm4.files(everything)


def test_each_replica_has_queues_of_its_own(helm3):
    spec = workload(helm3.render(values("events-sqs")))["spec"]["template"]["spec"]
    env = {variable["name"]: variable for variable in spec["containers"][0]["env"]}
    assert env["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    queues = [env[f"HOTSET_EVENTS__SQS__{index}__QUEUE"]["value"] for index in range(2)]
    assert [queue.rpartition("/")[2] for queue in queues] == ["$(POD_NAME)", "logs-$(POD_NAME)"]
    # What is expanded must be said before.
    assert [*env].index("POD_NAME") == 0


def test_each_replica_is_told_of_events_by_a_service_of_its_own(helm3):
    def services(changed: dict) -> list[str]:
        rendered = helm3.render({"events": {"webhook": {"enabled": True, "existingSecret": "s"}}} | changed)
        return [
            found["metadata"]["name"]
            for found in of_kind(rendered, "Service")
            if "webhook" in found["metadata"]["name"]
        ]

    assert services({}) == ["cache-hotset-webhook"]
    assert services({"mode": "statefulset", "replicas": 2}) == [
        "cache-hotset-webhook-0",
        "cache-hotset-webhook-1",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_notes_name_the_endpoint_and_commands(helm4, name):
    notes = helm4.notes(values(name))
    mode = values(name).get("mode", "deployment")
    if mode == "sidecar":
        assert "http://127.0.0.1:9000" in notes
    else:
        fullname = values(name).get("fullnameOverride", "cache-hotset")
        assert f"://{fullname}.apps.svc:" in notes
        assert f"kubectl -n apps rollout status {mode}/{fullname}" in notes
        assert "helm -n apps test cache" in notes
    assert "  kubectl -n apps " in notes and "<no value>" not in notes


def test_the_notes_say_when_whoever_connects_may_do_everything(helm4):
    assert "WHO CAN CONNECT MAY READ ALL" in helm4.notes({})
    assert "WHO CAN CONNECT MAY DO ALL" in helm4.notes({"config": {"auth": {"writes": True}}})
    assert "WHO CAN CONNECT" not in helm4.notes({"identities": {"existingSecret": "i"}})


def test_the_chart_is_of_the_version_of_hotset(helm4):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    cargo = (ROOT / "Cargo.toml").read_text().split('\nversion = "', 1)[1].split('"', 1)[0]
    labels = one(helm4.render({}), "Deployment")["metadata"]["labels"]
    assert chart["appVersion"] == cargo == labels["app.kubernetes.io/version"]


def test_dashboard_and_alerts_ask_for_metrics_that_exist():
    import re

    sources = "".join(
        path.read_text() for path in [ROOT / "src/metrics.rs", *(ROOT / "src/metrics").glob("*.rs")]
    )
    known = set(re.findall(r'"(hotset_[a-z_]+)"', sources))
    queries = [
        target["expr"]
        for panel in json.loads((CHART / "dashboards/hotset.json").read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    queries += [rule["expr"] for rule in yaml.safe_load((CHART / "alerts/hotset.yaml").read_text())]
    asked = set(re.findall(r"hotset_[a-z_]+", " ".join(queries)))
    assert len(asked) > 15
    assert {re.sub("_bucket$", "", name) for name in asked} <= known
