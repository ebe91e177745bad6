"""docs/install/kubernetes.md and sidecar.md: their commands render, and name objects that are there then."""

import re
import shlex
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import ROOT
from helms import CHART, documents
from standards import carelessness
from workloads import CUSTOM, KINDS, pod_specs

PAGE = (ROOT / "docs/install/kubernetes.md").read_text()
(VALUES,) = re.findall(r"^```yaml\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SIDECAR = (ROOT / "docs/install/sidecar.md").read_text()
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}
INSTALLING = [title for title, section in SECTIONS.items() if "$ helm install" in section]


def commands(section: str) -> list[list[str]]:
    """Its command lines, in words."""
    blocks = re.findall(r"^```console\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line]


def rendered(helm3, tmp_path, words: list[str], kube: str = "1.37.0") -> list[dict]:
    """What `helm install` or `helm upgrade` of the page sends to the cluster."""
    (tmp_path / "values.yaml").write_text(VALUES)
    _, _, release, chart, *options = words
    assert (release, chart) == ("hotset", "helm/hotset")
    options = [str(tmp_path / option) if option == "values.yaml" else option for option in options]
    options = [option for option in options if option != "--reuse-values"]
    return documents(helm3.run("template", release, str(CHART), *options, "--kube-version", kube))


@pytest.mark.parametrize("title", INSTALLING)
@pytest.mark.parametrize("kube", ["1.25.0", "1.37.0"])
def test_every_way_of_installing_renders_what_the_next_commands_name(helm3, tmp_path, title, kube):
    asked = commands(SECTIONS[title])
    (install,) = [words for words in asked if words[:2] == ["helm", "install"]]
    found = rendered(helm3, tmp_path, install, kube)
    for one in found:
        assert one["metadata"]["namespace"] == "s3-cache"
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, kube.removesuffix(".0"), strict=True)
    named = {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in found}
    workloads = {name for name in named if name.split("/")[0] in {kind.lower() for kind in KINDS}}
    waited_for = {words[-1] for words in asked if "rollout" in words}
    assert waited_for == workloads
    assert {words[-2] for words in asked if "port-forward" in words} <= named
    secrets = {words[words.index("generic") + 1] for words in commands(PAGE) if "generic" in words}
    assert {yaml.safe_load(VALUES)[key]["existingSecret"] for key in ("credentials", "adminToken")} == secrets


def test_every_mode_is_there():
    modes = re.findall("mode=([a-z]+)", PAGE)
    assert {*modes} == {"statefulset", "daemonset"} and len(INSTALLING) == 4


def test_upgrades_render(helm3, tmp_path):
    upgrades = [
        (words, [one for one in commands(section) if one[:2] == ["helm", "install"]])
        for section in SECTIONS.values()
        for words in commands(section)
        if words[:2] == ["helm", "upgrade"]
    ]
    assert len(upgrades) == 2
    for words, before in upgrades:
        given = before[0][4:] if before else []
        assert rendered(helm3, tmp_path, [*words[:4], *given, *words[4:]])


def sidecar_chart(folder: Path) -> Path:
    """The chart that the page on sidecars shows, beside the folder `helm`."""
    files = re.findall(r"`(my-app/.+?)`:\n\n```yaml\n(.+?)^```$", SIDECAR, re.MULTILINE | re.DOTALL)
    for path, text in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    shutil.copytree(CHART, folder / "helm/hotset")
    return folder / "my-app"


@pytest.mark.parametrize("kube", ["1.29.0", "1.37.0"])
def test_the_chart_with_a_sidecar_renders_what_the_next_command_waits_for(helm3, tmp_path, kube):
    update, install, wait = commands(SIDECAR.split("\n## ")[2])
    chart = str(sidecar_chart(tmp_path))
    assert (update[-1], install[3]) == ("my-app", "my-app")
    helm3.run(*update[1:-1], chart)
    found = documents(helm3.run("template", install[2], chart, *install[4:], "--kube-version", kube))
    for one in found:
        kubernetes_validate.validate(one, kube.removesuffix(".0"), strict=True)
    assert wait[-1] in {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in found}
    (spec,) = pod_specs(found).values()
    (hotset,) = spec["initContainers"]
    assert (hotset["name"], hotset["restartPolicy"]) == ("hotset", "Always")
    assert hotset["image"] == "registry.example.com/hotset:0.2.0"
    assert carelessness(hotset) == []


@pytest.mark.parametrize("kube", ["1.29", "1.33", "1.37"])
def test_the_manifest_of_a_sidecar_is_valid(kube):
    apply, wait = commands(SIDECAR.split("\n## ")[3])
    found = documents((ROOT / apply[-1]).read_text())
    for one in found:
        kubernetes_validate.validate(one, kube, strict=True)
    assert wait[-1] in {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in found}
    (spec,) = pod_specs(found).values()
    # The Secret that the page makes.
    (secret,) = [words[words.index("generic") + 1] for words in commands(SIDECAR) if "generic" in words]
    variables = spec["initContainers"][0]["env"]
    assert {variable["valueFrom"]["secretKeyRef"]["name"] for variable in variables} == {secret}
    # The lines that the page names.
    changed = [line for line in (ROOT / apply[-1]).read_text().splitlines() if line.endswith("# CHANGE")]
    assert len(changed) == 6
