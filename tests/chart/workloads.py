"""What is in a rendered chart: pods, containers, configurations."""

import yaml

KINDS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
# Of operators: they have no schemas here, only names.
CUSTOM = {"Certificate", "HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}


def of_kind(documents: list[dict], kind: str) -> list[dict]:
    return [one for one in documents if one["kind"] == kind]


def one(documents: list[dict], kind: str, name: str | None = None) -> dict:
    found = [one for one in of_kind(documents, kind) if name in (None, one["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name or ''}: {len(found)}"
    return found[0]


def pod_specs(documents: list[dict]) -> dict[str, dict]:
    """The specification of each pod, by what has it."""
    found = {}
    for document in documents:
        if document["kind"] == "Pod":
            found[f"Pod {document['metadata']['name']}"] = document["spec"]
        elif document["kind"] in KINDS:
            found[f"{document['kind']} {document['metadata']['name']}"] = document["spec"]["template"]["spec"]
    return found


def containers(spec: dict) -> list[dict]:
    return spec.get("initContainers", []) + spec["containers"]


def workload(documents: list[dict], component: str | None = None) -> dict:
    """That of hotset itself, or of another component."""
    found = [one for one in documents if one["kind"] in KINDS and component_of(one) == component]
    assert len(found) == 1, [one["kind"] for one in found]
    return found[0]


def component_of(document: dict) -> str | None:
    return document["metadata"].get("labels", {}).get("app.kubernetes.io/component")


def configuration(documents: list[dict]) -> dict:
    maps = [
        one["data"]["hotset.yaml"] for one in of_kind(documents, "ConfigMap") if "hotset.yaml" in one["data"]
    ]
    assert len(maps) == 1
    return yaml.safe_load(maps[0])
