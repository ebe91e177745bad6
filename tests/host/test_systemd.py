"""The unit files: right and hardened by systemd's own judgement, and fit for what hotset does and needs.

systemd itself does not run here: what only it could show is marked unverified in docs/install/systemd.md.
"""

import re
import shutil
import subprocess
import time
import urllib.request

import pytest
import units
import yaml
from conftest import ROOT
from processes import answers_ok, environment, free_port

SERVICE, SOCKET = ROOT / "conf/systemd/hotset.service", ROOT / "conf/systemd/hotset.socket"

with_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


@with_systemd
def test_the_units_are_right(program, tmp_path):
    text = SERVICE.read_text()
    assert text.count("/usr/bin/hotset") == 1
    (tmp_path / SERVICE.name).write_text(text.replace("/usr/bin/hotset", str(program)))
    shutil.copy(SOCKET, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / SERVICE.name, tmp_path / SOCKET.name],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@with_systemd
def test_the_exposure_of_the_service_is_below_2():
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", SERVICE]
    done = subprocess.run(command, capture_output=True, text=True)
    exposure = re.search(r"Overall exposure level for hotset.service: ([\d.]+)", done.stdout)
    assert done.returncode == 0 and float(exposure[1]) < 2.0, done.stdout


def test_the_configuration_is_right_and_its_addresses_are_those_of_the_socket_unit(program):
    path = ROOT / "conf/systemd/hotset.yaml"
    done = subprocess.run([program, "check", "--config", path], capture_output=True, text=True, env={})
    assert (done.returncode, done.stdout) == (0, "the configuration is right\n"), done.stderr
    written = yaml.safe_load(path.read_text())
    defaults = yaml.safe_load((ROOT / "conf/hotset.yaml").read_text())
    addresses = [one["address"] for one in written["listen"]] + [defaults["admin"]["address"]]
    assert "admin" not in written and units.read(SOCKET)["ListenStream"] == addresses
    (cache,) = units.read(SERVICE)["CacheDirectory"]
    assert [disk["path"] for disk in written["cache"]["disk"]] == [f"/var/cache/{cache}"]


@with_systemd
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_every_system_call_of_hotset_passes_the_filter_of_the_service(program, origin, tmp_path):
    """From the start over misses, hits and the disk tier to the end."""
    port, admin = free_port(), free_port()
    config = tmp_path / "hotset.yaml"
    disk = {"path": str(tmp_path / "cache"), "capacity": "1GiB"}
    written = {
        "listen": [{"address": f"127.0.0.1:{port}"}],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "origin": {"endpoint": origin},
        "cache": {"memory": "16MiB", "in_flight": "64MiB", "read_ahead": "8MiB", "disk": [disk]},
    }
    config.write_text(yaml.safe_dump(written))
    trace = tmp_path / "trace"
    # Under strace from its first call on; `--seccomp-bpf` would filter what is to be seen.
    command = ["strace", "-f", "-qq", "-o", trace, program, "serve", "--config", config]
    env = environment(AWS_ACCESS_KEY_ID="AK", AWS_SECRET_ACCESS_KEY="sk")
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not answers_ok(f"http://127.0.0.1:{admin}/readyz"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(3):
            for key in ("hello.txt", "random-5MiB.bin", "measurements.csv"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/samples/{key}", timeout=60) as answer:
                    assert answer.read()
    finally:
        # strace passes no signal on: its child is asked.
        children = subprocess.check_output(["pgrep", "--parent", str(process.pid)], text=True).split()
        subprocess.run(["kill", "-TERM", *children], check=True)
        assert process.wait(60) == 0
    called = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"io_uring_setup", "accept4", "flock"} <= called
    assert called - allowed(units.read(SERVICE)["SystemCallFilter"]) == set()


def allowed(filters: list[str]) -> set[str]:
    """What a service may call."""
    calls = set()
    for line in filters:
        named = set().union(*(members(name) for name in line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def members(name: str) -> set[str]:
    """The calls of a set, of those in it too."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.check_output(["systemd-analyze", "syscall-filter", name], text=True)
    lines = [line.strip() for line in text.splitlines()[1:]]
    return set().union(*(members(line) for line in lines if line and not line.startswith("#")))
