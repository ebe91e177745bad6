"""The unit files: right and hardened by systemd's own judgement, and fit for what hotset does and needs.

systemd itself does not run here: what only it could show is marked unverified in docs/install/systemd.md.
"""

import re
import shutil
import subprocess

import pytest
import units
import yaml
from conftest import ROOT

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
