"""docs/install/kubernetes.md: its commands render, and name objects that are there then."""

import re
import shlex

import kubernetes_validate
import pytest
import yaml
from conftest import ROOT
from helms import CHART, documents
from workloads import CUSTOM, KINDS

PAGE = (ROOT / "docs/install/kubernetes.md").read_text()
(VALUES,) = re.findall(r"^```yaml\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
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


def test_files_that_the_page_names_are_there():
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    applied = [words[-1] for words in commands(PAGE) if words[:2] == ["kubectl", "apply"]]
    assert applied == ["conf/kubernetes/sidecar.yaml"]
    assert all((ROOT / path).exists() for path in applied)
    assert links and all((ROOT / "docs/install" / link).exists() for link in links)
