"""The README's commands and examples are those that work."""

import re
import shlex

import pytest
import yaml
from helms import CHART
from test_dependency import JOB
from workloads import configuration

README = (CHART / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.+?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """Command lines of the examples, without the prompt."""
    lines = "\n".join(blocks("console")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ ")) for line in lines]
    return [line[1:] for line in words if line and line[0] == program]


def test_the_installation_renders(helm3):
    (install,) = [line for line in commands("helm") if line[0] == "install"]
    release, chart, *options = install[1:]
    assert chart == "helm/hotset"
    text = helm3.run("template", release, str(CHART), *options, "--kube-version", "1.37.0")
    assert "https://s3.eu-central-1.amazonaws.com" in text and "my-bucket/my-key" in text
    assert ["test", release, "--logs"] in commands("helm")


def test_the_upgrade_to_routers_renders(helm3):
    (upgrade,) = [line for line in commands("helm") if line[0] == "upgrade"]
    release, chart, reuse, *options = upgrade[1:]
    assert (chart, reuse) == ("helm/hotset", "--reuse-values")
    text = helm3.run("template", release, str(CHART), *options, "--kube-version", "1.37.0")
    assert "    server hotset-2 hotset-2.hotset-headless." in text


@pytest.mark.parametrize("index", range(2))
def test_examples_of_values_are_values(helm3, index):
    example = blocks("yaml")[index]
    if "# values.yaml" in example:
        example = example.split("# values.yaml\n", 1)[1].split("# templates/", 1)[0]
        assert yaml.safe_load(example)["hotset"]["mode"] == "sidecar"
        helm3.render(yaml.safe_load(example)["hotset"])
    else:
        assert configuration(helm3.render(yaml.safe_load(example)))["log"] == {"access": "json"}


def test_the_template_of_the_sidecar_is_the_one_that_is_tested():
    shown = re.findall(r"{{- include .+?}}", "".join(blocks("yaml")))
    # Indented as it is in each place.
    tested = {re.sub(r"nindent \d+", "", line) for line in re.findall(r"{{- include .+?}}", JOB.read_text())}
    assert len(shown) == 4
    assert {re.sub(r"nindent \d+", "", line) for line in shown} <= tested
