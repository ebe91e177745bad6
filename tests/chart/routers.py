"""Pods that reach each other: routers in front of hotsets, with the names of a headless Service."""

import json
import subprocess
import sys
from pathlib import Path

from pods import Pod

ROUTER = "192.0.2.1"


def address(number: int) -> str:
    return f"192.0.2.{number}"


def net(pod: Pod, *command: str) -> None:
    done = pod.beside(["sh", "-ec", "\n".join(command)])
    assert done.returncode == 0, done.stderr


class RouterPod(Pod):
    """The container `router`, with a DNS server beside it that knows what `names` says."""

    main, component = "router", "router"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.names = self.folder / "names.json"
        self.names.write_text("{}")
        self.dns: subprocess.Popen | None = None

    def program_and_arguments(self) -> list[str]:
        return self.container["command"]

    def start(self, *more: str) -> None:
        super().start(*more)
        program = Path(__file__).with_name("dns.py")
        command = ["nsenter", "--target", str(self.process.pid), "--net", sys.executable, program, self.names]
        self.dns = subprocess.Popen(command, start_new_session=True)

    def stop(self) -> None:
        super().stop()
        if self.dns:
            self.dns.kill()
            self.dns.wait()

    def connect(self, pod: Pod, number: int) -> None:
        """Gives a pod an address that the router reaches, and its name to the DNS server."""
        device, there = f"pod{number}", str(pod.process.pid)
        net(
            self,
            f"ip link add {device} type veth peer name eth0 netns {there}",
            f"ip address add {ROUTER} peer {address(number)} dev {device}",
            f"ip link set {device} up",
        )
        net(pod, f"ip address add {address(number)} peer {ROUTER} dev eth0", "ip link set eth0 up")
        self.name_pod(pod, number)

    def name_pod(self, pod: Pod, number: int) -> None:
        known = json.loads(self.names.read_text())
        known[f"{pod.name}.cache-hotset-headless.apps.svc.cluster.local"] = address(number)
        replaced = self.names.with_suffix(".new")
        replaced.write_text(json.dumps(known))
        replaced.rename(self.names)
