"""conf/compose.yaml: right by Compose's own schema, and its hotset started as it says, in a network like Compose's."""

import shutil
import subprocess

import pytest
import throwaway
import yaml
from conftest import ROOT, copy_samples
from pages import commands
from throwaway import Machine

FILE = ROOT / "conf/compose.yaml"

if why := throwaway.unavailable():
    pytest.skip(why, allow_module_level=True)


@pytest.fixture(scope="module")
def services() -> dict:
    return yaml.safe_load(FILE.read_text())["services"]


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_it_is_right_by_the_schema_of_compose(services):
    # Debian's knows no extension of after 2021; `name` came later, and only says what it is called.
    text = "".join(line for line in FILE.read_text().splitlines(True) if not line.startswith("name:"))
    command = ["docker-compose", "--file", "-", "--project-directory", FILE.parent, "config", "--services"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, set(done.stdout.split())) == (0, set(services)), done.stderr
    misspelt = subprocess.run(
        command, input=text.replace("cap_drop:", "capdrop:"), capture_output=True, text=True
    )
    assert misspelt.returncode != 0 and "capdrop" in misspelt.stderr


def test_images_are_pinned_and_ports_are_of_this_machine_only(services):
    for service in services.values():
        assert not service["image"].endswith(":latest") and ":" in service["image"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert services["hotset"]["environment"]["HOTSET_ORIGIN__ENDPOINT"] == "http://minio:9000"


@pytest.fixture
def network(stripped):
    """A machine for each service, on one network where they find each other by name; as root, which Compose's
    hotset is not."""
    made = {"hotset": Machine(), "minio": Machine()}
    pids = {name: str(machine.shell.pid) for name, machine in made.items()}
    subprocess.run(
        ["ip", "link", "add", "eth0", "netns", pids["hotset"], "type", "veth"]
        + ["peer", "name", "eth0", "netns", pids["minio"]],
        check=True,
    )
    for number, (name, machine) in enumerate(made.items(), 2):
        machine.ok("ip", "address", "add", f"198.18.0.{number}/24", "dev", "eth0")
        machine.ok("ip", "link", "set", "eth0", "up")
        hosts = "127.0.0.1 localhost\n198.18.0.2 hotset\n198.18.0.3 minio\n"
        machine.path("/etc/hosts").write_text(hosts)
        shutil.copy(stripped, machine.path("/usr/local/bin/hotset"))
    yield made
    for machine in made.values():
        machine.stop()


def test_the_commands_of_the_page_work_between_the_containers(network, services, samples):
    hotset, minio = network["hotset"], network["minio"]
    # In MinIO's place, on the port of MinIO.
    copy_samples(samples, minio.path("/srv/data"))
    variables = {
        "HOTSET_LISTEN__0__ADDRESS": "0.0.0.0:9000",
        "HOTSET_LISTEN__0__DOMAINS": "[minio]",
        "HOTSET_AUTH__OPEN": "true",
    }
    minio.start("minio", ["hotset", "serve", "--embedded", "/srv/data"], variables)
    minio.wait_for("curl", "--silent", "--fail", "http://127.0.0.1:9001/readyz")

    service = services["hotset"]
    image = ROOT / "conf/container.yaml"
    hotset.path("/etc/hotset").mkdir()
    hotset.path("/etc/hotset/hotset.yaml").write_text(image.read_text() if image.exists() else "")
    hotset.start("hotset", ["hotset", *service["command"]], service["environment"])
    _, *health = service["healthcheck"]["test"]
    hotset.wait_for("env", *(f"{name}={value}" for name, value in service["environment"].items()), *health)

    shutil.copytree(ROOT / "conf", hotset.path("/srv/hotset/conf"))
    run = []
    for command in commands(ROOT / "docs/install/compose.md"):
        if not command.startswith("docker "):
            # Names of containers are for other containers, loopback is for the machine of hotset's published port.
            machine = minio if "//hotset:" in command else hotset
            run.append(machine.ok("sh", "-ec", command))
    assert len(run) == 6
    assert "cache-status: hotset; hit" in run[3].lower()
    answered = minio.ok("curl", "--silent", "http://hotset:9000/trial/compose.yaml")
    assert answered == FILE.read_text()
