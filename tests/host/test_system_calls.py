"""The system calls of hotset, and the filters that services and containers have for them."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import units
import yaml
from conftest import ROOT
from processes import answers_ok, environment, free_port

SERVICE = ROOT / "conf/systemd/hotset.service"
CONTAINERS = Path("/usr/share/containers/seccomp.json")
"""The default profile of podman."""

if not shutil.which("strace"):
    pytest.skip("strace is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def called(program, origin, tmp_path_factory) -> set[str]:
    """From the start over misses, hits and two disks, one of them direct, to the end."""
    port, admin, folder = free_port(), free_port(), tmp_path_factory.mktemp("called")
    disks = [
        {"path": str(folder / "cache"), "capacity": "1GiB"},
        {"path": str(folder / "direct"), "capacity": "1GiB", "direct": True},
    ]
    written = {
        "listen": [{"address": f"127.0.0.1:{port}"}],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "origin": {"endpoint": origin},
        "cache": {"memory": "16MiB", "in_flight": "64MiB", "read_ahead": "8MiB", "disk": disks},
    }
    config = folder / "hotset.yaml"
    config.write_text(yaml.safe_dump(written))
    trace = folder / "trace"
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
    found = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"io_uring_setup", "io_setup", "accept4", "flock"} <= found
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_filter_of_the_service_allows_all_of_them(called):
    assert called - allowed(units.read(SERVICE)["SystemCallFilter"]) == set()


@pytest.mark.skipif(not CONTAINERS.exists(), reason=f"podman is not installed: no {CONTAINERS}")
def test_the_default_profile_of_containers_refuses_io_uring_alone(called):
    rules = json.loads(CONTAINERS.read_text())["syscalls"]
    # Of any container, whatever its capabilities.
    unconditional = [rule for rule in rules if not rule.get("includes", {}).get("caps")]
    passed = {name for rule in unconditional if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    refused = called - passed
    assert refused and all(name.startswith("io_uring_") for name in refused), refused


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
