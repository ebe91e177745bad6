"""The Debian package: installed, started, upgraded, removed and purged, on a throwaway copy of this machine.

`BUILT_DEB=FILE` tests the package that `make deb` built instead of one that is assembled around the tests' binary."""

import os
import shutil
from pathlib import Path

import debian
import pytest
import throwaway
from conftest import ROOT, copy_samples
from pages import commands
from units import Service

ORIGIN = "http://127.0.0.2:9000"
"""On the throwaway machine: the S3 server that is built in."""

if why := throwaway.unavailable():
    pytest.skip(why, allow_module_level=True)
if not shutil.which("systemd-socket-activate"):
    pytest.skip("systemd is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def package(stripped, tmp_path_factory) -> Path:
    """`BUILT_DEB`, which `make deb` built, or what the tests assemble."""
    if built := os.environ.get("BUILT_DEB"):
        return Path(built)
    return debian.build(ROOT, stripped, tmp_path_factory.mktemp("package"))


@pytest.fixture
def machine(package, stripped, samples):
    made = throwaway.Machine()
    checkout = made.path("/srv/hotset")
    shutil.copytree(ROOT / "conf", checkout / "conf")
    for folder in ("target/debian", "target/release"):
        (checkout / folder).mkdir(parents=True)
    shutil.copy(package, checkout / "target/debian")
    shutil.copy(stripped, checkout / "target/release")
    shutil.copy(stripped, made.path("/srv/origin"))
    copy_samples(samples, made.path("/srv/data"))
    addresses = {"HOTSET_LISTEN__0__ADDRESS": "127.0.0.2:9000", "HOTSET_ADMIN__ADDRESS": "127.0.0.2:9001"}
    made.start("origin", ["/srv/origin", "serve", "--embedded", "/srv/data"], addresses)
    made.wait_for("curl", "--silent", "--fail", "http://127.0.0.2:9001/readyz")
    yield made
    made.stop()


def owner(machine: throwaway.Machine, path: str) -> str:
    return machine.ok("stat", "--format=%U:%G %a", path).strip()


def follow(machine: throwaway.Machine, page: str, units: str) -> Service:
    """Runs the commands of a page of docs/install, with an origin and an object that are there. The builds are done
    already, and what `systemctl` would do is done by a stand-in."""
    service, run = Service(machine, units), []
    for command in commands(ROOT / "docs/install" / page):
        text = command.replace("https://s3.eu-west-1.amazonaws.com", ORIGIN)
        text = text.replace("my-bucket/my-key", "samples/hello.txt")
        match text.split():
            case ["make", "deb"] | ["cargo", "build", *_] | ["systemctl", "daemon-reload"]:
                pass
            case ["systemctl", "enable", "--now", "hotset.socket", "hotset.service"]:
                service.start()
            case ["systemctl", "restart", "hotset.service"]:
                service.stop()
                service.start()
            case ["systemctl", "reload", "hotset.service"]:
                service.reload()
            case ["hotset", "health", *_]:
                machine.wait_for("sh", "-c", text)
            case ["apt", "remove", *_]:
                service.stop()
                machine.ok("sh", "-ec", text)
            case _:
                machine.ok("sh", "-ec", text)
        run.append(text)
    assert len(run) >= 7
    return service


def test_it_is_installed_upgraded_removed_and_purged(machine):
    name = next(machine.path("/srv/hotset/target/debian").iterdir()).name
    machine.ok("dpkg", "--install", f"target/debian/{name}")
    assert (
        machine.ok("hotset", "check", "--config", "/etc/hotset/hotset.yaml") == "the configuration is right\n"
    )
    assert owner(machine, "/var/cache/hotset") == "hotset:hotset 700"
    assert owner(machine, "/etc/default/hotset") == "root:root 640"
    machine.ok("dpkg", "--verify", "hotset")

    service = Service(machine, "/usr/lib/systemd/system")
    configuration = machine.path("/etc/default/hotset")
    configured = configuration.read_text() + f"HOTSET_ORIGIN__ENDPOINT={ORIGIN}\nAWS_EC2_METADATA_DISABLED=true\n"
    configuration.write_text(configured)
    service.start()
    object_url = "http://127.0.0.1:9000/samples/hello.txt"
    assert machine.wait_for("curl", "--silent", "--fail", object_url) == "Hello from behind hotset.\n"
    log = machine.path("/srv/hotset.log").read_text()
    assert log.count("listening on the socket that was passed for") == 2 and "others can read" not in log
    service.stop()
    cached = {path.name for path in machine.path("/var/cache/hotset").rglob("*")}
    assert "lock" in cached

    # An upgrade keeps what was configured and what is cached.
    machine.ok("dpkg", "--install", "--force-confold", f"target/debian/{name}")
    assert configuration.read_text() == configured
    assert {path.name for path in machine.path("/var/cache/hotset").rglob("*")} == cached

    machine.ok("dpkg", "--remove", "hotset")
    assert not machine.path("/usr/bin/hotset").exists()
    assert not machine.path("/usr/lib/systemd/system/hotset.service").exists()
    assert machine.path("/etc/hotset/hotset.yaml").exists()

    machine.ok("dpkg", "--purge", "hotset")
    for path in ("/etc/hotset", "/etc/default/hotset", "/var/cache/hotset", "/usr/share/doc/hotset"):
        assert not machine.path(path).exists(), path
    assert machine.run("getent", "passwd", "hotset").returncode != 0
    assert machine.run("dpkg", "--status", "hotset").returncode != 0


def test_the_commands_of_the_page_on_debian_work(machine):
    follow(machine, "debian.md", "/usr/lib/systemd/system")
    assert machine.run("getent", "passwd", "hotset").returncode != 0


def test_the_commands_of_the_page_on_systemd_work(machine):
    follow(machine, "systemd.md", "/etc/systemd/system").stop()
    assert owner(machine, "/var/cache/hotset") == "hotset:hotset 700"
    assert owner(machine, "/etc/default/hotset") == "root:root 600"
