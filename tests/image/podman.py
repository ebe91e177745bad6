"""buildah and podman with images, containers and volumes in a folder of their own, and the settings that run without
systemd, without a network of containers, and with the limits of whoever runs the tests."""

import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

PROGRAMS = ("buildah", "podman", "runc")


def unavailable() -> str | None:
    """Why there can be no containers here."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(missing)} not installed: .ci/setup image"
    if os.geteuid() != 0:
        return "only root runs containers with memory limits here"
    return None


class Podman:
    def __init__(self, folder: Path):
        self.folder = folder
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        (folder / "containers.conf").write_text(
            f"""[containers]
# Without the right to raise limits no more than what this process has can be asked for.
default_ulimits = ["nofile={open_files}:{open_files}", "nproc=1024:1024"]
log_driver = "k8s-file"
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
static_dir = "{folder}/static"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
"""
        )
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

        self.store = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]

    def __call__(self, *arguments: str, program: str = "podman") -> str:
        """Runs a command and returns what it says."""
        done = subprocess.run(
            [program, *self.store, *arguments], env=self.env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def inspect(self, kind: str, name: str) -> dict:
        return json.loads(self(kind, "inspect", name))[0]


class Container:
    """A container that runs `image` until it is stopped, as the strictest policies have it."""

    STRICT = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")

    def __init__(self, podman: Podman, image: str, *options: str, arguments: tuple[str, ...] = ()):
        self.podman, self.image = podman, image
        self.id = podman("run", "--detach", *self.STRICT, *options, image, *arguments)

    def logs(self) -> str:
        command = ["podman", *self.podman.store, "logs", self.id]
        done = subprocess.run(command, env=self.podman.env, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def running(self) -> bool:
        return self.state()["Running"]

    def state(self) -> dict:
        return self.podman.inspect("container", self.id)["State"]

    def wait(self, text: str, seconds: float = 120) -> str:
        """The logs, once they hold `text`."""
        deadline = time.monotonic() + seconds
        while text not in (logs := self.logs()):
            assert self.running() and time.monotonic() < deadline, f"no {text!r}: {logs}"
            time.sleep(0.05)
        return logs

    def healthy(self) -> bool:
        """Whether the HEALTHCHECK of the image succeeds now."""
        try:
            self.podman("healthcheck", "run", self.id)
        except AssertionError:
            return False
        return True

    def terminate(self) -> None:
        """Sends the image's stop signal, and does not wait."""
        signal = self.podman.inspect("image", self.image)["Config"]["StopSignal"]
        self.podman("kill", "--signal", signal, self.id)

    def exit_code(self) -> int:
        return int(self.podman("wait", self.id))

    def remove(self) -> None:
        self.podman("rm", "--force", "--time", "0", self.id)
