"""What was rendered, run: the configuration is right, and the probes and Services reach what listens."""

import subprocess

import pytest
from conftest import NAMES, ROOT, values
from helms import CHART, documents
from pods import ADDRESS, Pod, unavailable
from standards import violations
from test_dependency import PARENTS, parent
from workloads import containers, of_kind, one, pod_specs

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

@pytest.fixture
def pod(helm3, program, secrets, tmp_path):
    """A pod of a set of values, or of those given; ended for certain."""
    made = []

    def make(changed: dict | str, kube: str = "1.37.0") -> Pod:
        changed = values(changed) if isinstance(changed, str) else changed
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Pod(folder, program, helm3.render(without_extra_volumes(changed), kube), secrets))
        return made[-1]

    yield make
    for one_pod in made:
        one_pod.stop()


def without_extra_volumes(changed: dict) -> dict:
    return {
        key: value
        for key, value in changed.items()
        if key not in ("extraVolumes", "extraVolumeMounts", "lifecycle")
    }


WORKLOADS = [name for name in NAMES if values(name).get("mode") != "sidecar"]
# Pods behind routers speak only to them: test_router.py.
OPEN = [name for name in WORKLOADS if not values(name).get("router")]


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_configuration_is_right_with_its_files_and_variables(pod, name):
    done = pod(name).run("check", "--config", "/etc/hotset/hotset.yaml")
    assert (done.returncode, done.stdout) == (0, "the configuration is right\n"), done.stderr


@pytest.mark.parametrize("name", OPEN)
def test_probes_and_ports_are_answered_without_an_origin(pod, name):
    running = pod(name)
    running.start()
    running.started()
    assert running.probe("livenessProbe") and running.probe("readinessProbe")
    for service in of_kind(running.documents, "Service"):
        for port in service["spec"]["ports"]:
            answer = running.beside(
                [
                    "curl",
                    "--insecure",
                    "--max-time",
                    "10",
                    f"{scheme(port)}://{ADDRESS}:{running.port(port['targetPort'])}/",
                ]
            )
            assert answer.returncode == 0, (port, answer.stderr)
    assert "others can read" not in running.said()
    if any(mount["name"] == "disk" for mount in running.container["volumeMounts"]):
        # R35: in a folder of its own, since the root of a volume is the group's.
        blocks = running.volume("disk") / "blocks"
        assert (blocks.stat().st_uid, blocks.stat().st_mode & 0o777) == (65532, 0o700)


def scheme(port: dict) -> str:
    return port.get("appProtocol", "http")


def test_listeners_of_ones_own_speak_tls_too(pod):
    listen = [{"address": "0.0.0.0:8443"}]
    running = pod({"config": {"listen": listen}, "tls": {"enabled": True, "existingSecret": "objects-tls"}})
    running.start()
    running.started()
    assert running.beside(["curl", "--insecure", f"https://{ADDRESS}:{running.port('s3')}/"]).returncode == 0


def test_the_admin_port_answers_probes_and_keeps_its_api_closed(pod):
    running = pod("default")
    running.start()
    running.started()
    purge = ["--request", "POST", "--json", '{"everything": true}']
    assert running.http(9001, "/metrics") == 200
    assert running.http(9001, "/api/v1/purge", *purge) == 403

    tokened = pod({"adminToken": {"existingSecret": "admin"}})
    tokened.start()
    tokened.started()
    assert tokened.probe("livenessProbe") and tokened.probe("readinessProbe")
    assert tokened.http(9001, "/api/v1/purge", *purge) == 401
    assert (
        tokened.http(
            9001, "/api/v1/purge", *purge, "--header", "Authorization: Bearer made-up-token-of-admin"
        )
        == 200
    )


def test_a_pod_that_is_to_end_is_not_ready_and_serves_on(pod):
    running = pod({"config": {"shutdown": {"delay": "1h"}}})
    running.start()
    running.started()
    running.process.terminate()
    tries = 0
    while running.probe("readinessProbe"):
        tries += 1
        assert tries < 1000, running.said()
    assert running.http(9000, "/", "--header", "Host: cache-hotset") > 0
    assert running.probe("livenessProbe")


def test_every_name_of_the_service_and_of_the_ingress_is_one_of_hotsets(pod):
    names = ["", ".apps", ".apps.svc", ".apps.svc.cluster.local"]
    hosts = ["s3.example.com", *(f"cache-hotset{name}" for name in names)]
    running = pod({"disk": {"type": "emptyDir"}, "ingress": {"enabled": True, "hosts": hosts[:1]}})
    running.start("--embedded", "/var/cache/hotset/embedded")
    running.started()
    for host in [*hosts, "cache-hotset:9000"]:
        assert running.http(9000, "/samples/measurements.csv", "--header", f"Host: {host}") == 200, host
    assert running.http(9000, "/samples/measurements.csv", "--header", "Host: evil.example") == 400


@pytest.mark.parametrize("kind", ["deployment", "verify"])
def test_helm_test_sees_a_miss_and_a_hit(pod, kind):
    changed = {"disk": {"type": "emptyDir"}, "tests": {"object": "samples/measurements.csv"}}
    if kind == "verify":
        changed |= {"identities": {"existingSecret": "identities"}}
        changed["tests"]["existingSecret"] = "reader"
    running = pod(changed)
    running.start("--embedded", "/var/cache/hotset/embedded")
    running.started()
    test = one(running.documents, "Pod")["spec"]["containers"][0]
    env = {variable["name"]: variable.get("value", "") for variable in test["env"]}
    assert env["ENDPOINT"] == "http://cache-hotset.apps.svc:9000"
    env["ENDPOINT"] = f"http://{ADDRESS}:9000"
    if kind == "verify":
        env |= {"ACCESS_KEY": "AKREADER", "SECRET_KEY": "made-up-secret-of-reader"}
    done = running.beside([*test["command"], *test["args"]], env)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = [line for line in done.stdout.splitlines() if line.lower().startswith("cache-status")]
    assert "fwd=uri-miss" in first and second.endswith("; hit")

    refused = running.beside([*test["command"], *test["args"]], env | {"OBJECT": "samples/none"})
    assert refused.returncode != 0 and "the second read was no hit" in refused.stdout


@pytest.mark.parametrize("name", PARENTS)
def test_a_sidecar_is_right_and_answers_its_probes(helm3, program, tmp_path, name):
    rendered = parent(helm3, tmp_path, PARENTS[name])
    running = Pod(tmp_path, program, rendered)
    done = running.run("check", "--config", "/etc/hotset/hotset.yaml")
    assert done.returncode == 0, done.stderr
    try:
        running.start()
        running.started()
        assert running.probe("readinessProbe")
        # Nobody outside of the pod reaches it.
        assert running.http(9000, "/") == running.http(9001, "/healthz") == 0
        if name == "socket":
            path = running.volume("hotset-socket") / "s3.sock"
            assert path.is_socket() and path.stat().st_mode & 0o777 == 0o666
    finally:
        running.stop()


def test_the_manifest_without_helm_is_right_and_safe_and_answers_its_probes(program, tmp_path):
    found = documents((ROOT / "conf/kubernetes/sidecar.yaml").read_text())
    for spec in pod_specs(found).values():
        assert violations(spec) == []
        hotset = next(container for container in containers(spec) if container["name"] == "hotset")
        assert hotset["restartPolicy"] == "Always" and hotset["startupProbe"]
    running = Pod(tmp_path, program, found, {"s3-keys": {"access-key-id": "AK", "secret-access-key": "sk"}})
    assert running.run("check", "--config", "/etc/hotset/hotset.yaml").returncode == 0
    try:
        running.start()
        running.started()
    finally:
        running.stop()


def test_the_scripts_of_the_chart_are_plain_shell():
    subprocess.run(["sh", "-n", CHART / "tests/miss-and-hit.sh"], check=True)
