"""What kubelet does with a container, done to a process: environment, probes, preStop, SIGTERM, SIGKILL.

Ports of its own come by environment variables, since both replicas are in one network here; everything else is as
it was rendered.
"""

import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import yaml
from processes import environment, free_port
from workloads import configuration, containers, workload


class Replica:
    """A pod of a rendered workload; it can be restarted on the same ports."""

    def __init__(self, name: str, folder: Path, program: Path, documents: list[dict]):
        self.program, self.log = program, folder / f"{name}.log"
        found = workload(documents)
        self.ready_seconds = found["spec"].get("minReadySeconds", 0)
        self.spec = found["spec"]["template"]["spec"]
        self.container = next(one for one in containers(self.spec) if one["name"] == "hotset")
        self.config = folder / f"{name}.yaml"
        self.config.write_text(yaml.safe_dump(configuration(documents)))
        self.port, self.admin = free_port(), free_port()
        self.env = environment(
            HOTSET_LISTEN__0__ADDRESS=f"127.0.0.1:{self.port}",
            HOTSET_ADMIN__ADDRESS=f"127.0.0.1:{self.admin}",
            AWS_ACCESS_KEY_ID="AK",
            AWS_SECRET_ACCESS_KEY="sk",
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        arguments = [
            self.config if word == "/etc/hotset/hotset.yaml" else word for word in self.container["args"]
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.program, *arguments], env=self.env, stdout=log, stderr=log)
        self.wait_for("startupProbe")
        self.wait_for("readinessProbe")

    def probe(self, name: str) -> bool:
        asked = self.container[name]["httpGet"]
        assert asked["port"] == "admin"
        try:
            url = f"http://127.0.0.1:{self.admin}{asked['path']}"
            timeout = self.container[name]["timeoutSeconds"]
            return urllib.request.urlopen(url, timeout=timeout).status < 400
        except OSError:
            return False

    def wait_for(self, name: str) -> None:
        probe = self.container[name]
        deadline = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        while not self.probe(name):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def terminate(self) -> None:
        """The preStop hook, then SIGTERM; [`Replica.gone`] waits for the end."""
        self.deadline = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        hook = self.container.get("lifecycle", {}).get("preStop")
        assert hook is None, f"a hook to run: {hook}"
        self.process.send_signal(signal.SIGTERM)

    def listens(self) -> bool:
        table = Path("/proc/net/tcp").read_text()
        return f"0100007F:{self.port:04X} 00000000:0000 0A" in table

    def gone(self) -> None:
        """Waits for the end; kubelet would kill what is there when the grace period is over."""
        assert self.process.wait(self.deadline - time.monotonic()) == 0, self.log.read_text()

    def metric(self, name: str) -> float:
        """0 when the process has ended."""
        if self.process.poll() is not None:
            return 0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
