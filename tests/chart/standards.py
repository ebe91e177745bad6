"""The Pod Security Standard `restricted`, and what else is asked of a container.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from workloads import containers

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec: dict) -> list[str]:
    found = [f"{name} of the host" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec.get("volumes", []):
        kinds = volume.keys() - {"name"}
        found += [f"volume {volume['name']} is {kind}" for kind in kinds - VOLUMES]
    for container in containers(spec):
        found += [f"{container['name']}: {wrong}" for wrong in of_container(spec, container)]
    return sorted(found)


def of_container(spec: dict, container: dict) -> list[str]:
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    either = pod | own
    found = []
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        found.append("privileges may grow")
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        found.append("capabilities")
    if not either.get("runAsNonRoot") or either.get("runAsUser") == 0:
        found.append("root")
    if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("seccomp")
    if any("hostPort" in port for port in container.get("ports", [])):
        found.append("port of the host")
    return found


def carelessness(container: dict) -> list[str]:
    found = []
    if "memory" not in container.get("resources", {}).get("limits", {}):
        found.append("no limit of memory")
    _, _, tag = container["image"].rpartition("@" if "@" in container["image"] else ":")
    if tag in ("", "latest") or tag == container["image"]:
        found.append(f"image {container['image']}")
    if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
        found.append("a root file system that can be written")
    return found
