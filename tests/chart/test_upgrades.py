"""An upgrade changes nothing that the API server does not let change."""

import shutil

import pytest
from conftest import values
from helms import CHART, documents
from test_golden import GOLDEN, MODES
from workloads import one, workload

# Of a StatefulSet all but these is immutable; of a Deployment and a DaemonSet the selector is.
MUTABLE = {
    "replicas",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
    "ordinals",
}

CHANGES = [
    {"replicas": 5},
    {"image": {"tag": "9.9.9"}},
    {"commonLabels": {"team": "other"}, "podLabels": {"a": "b"}, "commonAnnotations": {"c": "d"}},
    {"config": {"log": {"level": "debug"}, "shutdown": {"grace": "2m"}}},
    {"resources": {"limits": {"memory": "8Gi"}}},
    {"identities": {"existingSecret": "identities"}, "tls": {"enabled": True, "existingSecret": "tls"}},
    {"service": {"port": 80, "type": "LoadBalancer"}, "networkPolicy": {"enabled": False}},
    {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"enabled": False}},
    {"disk": {"percent": 50, "retentionPolicy": {"whenDeleted": "Retain"}}},
    {"serviceAccount": {"create": False}, "extraEnv": [{"name": "A", "value": "b"}]},
    {"router": {"enabled": True}, "adminToken": {"existingSecret": "admin"}},
]


def immutable(documents: list[dict]) -> dict:
    found = workload(documents)
    spec = found["spec"]
    if found["kind"] == "StatefulSet":
        fixed = {key: value for key, value in spec.items() if key not in MUTABLE}
    else:
        fixed = {"selector": spec["selector"]}
    return {"kind": found["kind"], "name": found["metadata"]["name"], "spec": fixed}


MODES_WITH_PODS = [mode for mode in MODES if mode != "sidecar"]
# A daemonset does not scale, and only a statefulset has routers.
NOT_OF = {"daemonset": {"autoscaling", "router"}, "deployment": {"router"}, "statefulset": set()}
CASES = [(mode, change) for mode in MODES_WITH_PODS for change in CHANGES if not NOT_OF[mode] & change.keys()]


@pytest.mark.parametrize(
    ("mode", "change"), CASES, ids=[f"{mode}: {', '.join(change)}" for mode, change in CASES]
)
def test_other_values_change_no_immutable_field(helm3, mode, change):
    before, after = {"mode": mode}, {"mode": mode} | change
    assert immutable(helm3.render(before)) == immutable(helm3.render(after))


@pytest.mark.parametrize("mode", MODES_WITH_PODS)
def test_a_new_version_of_the_chart_changes_no_immutable_field(helm3, mode):
    """The golden files stand for the release before. Where one of these fields changes with them, the
    changelog says how to upgrade."""
    released = documents((GOLDEN / f"{mode}.yaml").read_text())
    assert immutable(released) == immutable(helm3.render({"mode": mode}))
    (service,) = {
        one(of, "Service", "cache-hotset-headless")["spec"]["clusterIP"]
        for of in (released, helm3.render({"mode": mode}))
    }
    assert service == "None"


@pytest.mark.parametrize("mode", MODES_WITH_PODS)
def test_a_new_chart_of_the_same_hotset_restarts_no_pod(helm3, tmp_path, mode):
    """What they have in memory would be lost."""
    newer = tmp_path / "hotset"
    shutil.copytree(CHART, newer)
    chart = newer / "Chart.yaml"
    chart.write_text(chart.read_text().replace("\nversion: 0.2.0\n", "\nversion: 0.2.1\n"))
    before, after = (workload(helm3.render({"mode": mode}, chart=of)) for of in (CHART, newer))
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"]["template"] == after["spec"]["template"]


def test_another_size_of_disk_is_the_one_change_that_needs_a_hand(helm3):
    """As the README says: kubectl delete statefulset NAME --cascade=orphan."""
    small, large = ({"mode": "statefulset", "disk": {"size": size}} for size in ("50Gi", "100Gi"))
    before, after = immutable(helm3.render(small)), immutable(helm3.render(large))
    claim = before["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]
    assert claim == {"storage": "50Gi"}
    claim["storage"] = "100Gi"
    assert before == after


def test_the_sets_of_values_have_stable_claims(helm3):
    claims = immutable(helm3.render(values("statefulset")))["spec"]["volumeClaimTemplates"]
    assert all("helm.sh/chart" not in claim["metadata"]["labels"] for claim in claims)
