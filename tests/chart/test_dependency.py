"""The chart as a part of another one: installed with it, left out by a condition, or in its pods."""

import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from helms import CHART, Helm3, Refused
from standards import carelessness, violations
from workloads import configuration, of_kind, one, pod_specs

JOB = Path(__file__).parent / "job.yaml"
PARENTS = {
    "loopback": {},
    "socket": {"sidecar": {"socket": {"enabled": True}}, "config": {"auth": {"writes": True}}},
    "disk": {"disk": {"type": "emptyDir", "size": "2Gi"}},
}


def parent_chart(folder: Path, alias: str | None = None, template: Path | None = JOB) -> Path:
    chart = folder / "parent"
    (chart / "templates").mkdir(parents=True)
    dependency = {"name": "hotset", "version": "*", "condition": f"{alias or 'hotset'}.enabled"}
    described = {
        "apiVersion": "v2",
        "name": "parent",
        "version": "1.0.0",
        "dependencies": [dependency | ({"alias": alias} if alias else {})],
    }
    (chart / "Chart.yaml").write_text(yaml.safe_dump(described))
    shutil.copytree(CHART, chart / "charts" / "hotset")
    if template:
        text = template.read_text()
        if alias:
            text = text.replace('"part"', f'"as" "{alias}" "part"')
        (chart / "templates" / "job.yaml").write_text(text)
    return chart


def parent(helm: Helm3, folder: Path, changed: dict, kube: str = "1.37.0") -> list[dict]:
    """A Job of another chart with hotset beside it."""
    own = {"mode": "sidecar", "resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "512Mi"}}}
    return helm.render({"hotset": own | changed}, kube, parent_chart(folder))


def test_a_dependency_takes_global_values_and_its_condition(helm3, helm4, tmp_path):
    chart = parent_chart(tmp_path, template=None)
    values = {"global": {"region": "eu"}, "hotset": {"enabled": True, "replicas": 3}}
    rendered = helm3.render(values, helm4.kube(), chart)
    assert one(rendered, "Deployment")["spec"]["replicas"] == 3
    assert helm4.render(values, chart) == rendered
    left_out = {"global": {"region": "eu"}, "hotset": {"enabled": False}}
    assert helm3.render(left_out, chart=chart) == helm4.render(left_out, chart) == []


def test_a_wrong_key_fails_in_a_dependency_too(helm3, tmp_path):
    chart = parent_chart(tmp_path, template=None)
    with pytest.raises(Refused, match="blok"):
        helm3.render({"hotset": {"config": {"cache": {"blok": 1}}}}, chart=chart)


@pytest.mark.parametrize("name", PARENTS)
@pytest.mark.parametrize("kube", ["1.29.0", "1.33.0", "1.37.0"])
def test_a_sidecar_is_valid_and_safe(helm3, tmp_path, name, kube):
    rendered = parent(helm3, tmp_path, PARENTS[name], kube)
    for found in rendered:
        kubernetes_validate.validate(found, kube.removesuffix(".0"), strict=True)
    spec = pod_specs(rendered)["Job app"]
    assert violations(spec) == []
    (hotset,) = spec["initContainers"]
    assert carelessness(hotset) == []
    # Among the containers it would be no sidecar, and the Job would never end.
    assert hotset["restartPolicy"] == "Always" and hotset["startupProbe"]
    assert [container["name"] for container in spec["containers"]] == ["app"]
    (configured,) = [found["metadata"]["name"] for found in of_kind(rendered, "ConfigMap")]
    assert spec["volumes"][0]["projected"]["sources"][0] == {"configMap": {"name": configured}}


def test_a_sidecar_renders_the_same_in_both_helms(helm3, helm4, tmp_path):
    chart = parent_chart(tmp_path)
    values = {"hotset": {"mode": "sidecar"}}
    assert helm4.render(values, chart) == helm3.render(values, helm4.kube(), chart)


def test_a_sidecar_under_an_alias(helm3, tmp_path):
    chart = parent_chart(tmp_path, alias="models")
    rendered = helm3.render({"models": {"mode": "sidecar", "config": {"threads": 2}}}, chart=chart)
    assert configuration(rendered)["threads"] == 2
    names = one(rendered, "Job")["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    assert names == [{"configMap": {"name": "cache-models"}}]
    assert one(rendered, "ConfigMap")["metadata"]["name"] == "cache-models"


def test_a_job_is_begun_anew_by_the_configuration_of_its_sidecar(helm3, tmp_path):
    def checksum(index: int, changed: dict) -> str:
        folder = tmp_path / str(index)
        job = one(parent(helm3, folder, changed), "Job")
        return job["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(0, {}) == checksum(1, {}) != checksum(2, {"config": {"threads": 1}})


@pytest.mark.parametrize(
    ("values", "kube", "said"),
    [
        ({"hotset": {"mode": "sidecar"}}, "1.28.0", "native sidecars need Kubernetes 1.29"),
        ({"hotset": {"mode": "deployment"}}, "1.37.0", "hotset.mode: must be sidecar"),
    ],
)
def test_a_sidecar_that_cannot_be_is_refused(helm3, tmp_path, values, kube, said):
    with pytest.raises(Refused, match=said):
        helm3.render(values, kube, parent_chart(tmp_path))


def test_an_alias_that_is_not_said_is_asked_for(helm3, tmp_path):
    chart = parent_chart(tmp_path, alias="models")
    (chart / "templates/job.yaml").write_text(JOB.read_text())
    with pytest.raises(Refused, match='say "as"'):
        helm3.render({"models": {"mode": "sidecar"}}, chart=chart)
