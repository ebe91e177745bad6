"""A pod without a cluster: what kubelet makes of a specification, made by hand.

In network and mount namespaces of its own, so that ports and paths are those that were rendered: volumes with
their owners and modes, a root file system that only can be read, the user and no capabilities, variables out of
Secrets. The image is the tests' own binary with the libraries of this machine.
"""

import base64
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from workloads import containers, of_kind, one, workload

ADDRESS = "192.0.2.7"
"""The pod's, for documentation (RFC 5737): it leads nowhere but to the pod."""

SERVICE_LINKS = {
    "HOTSET_SERVICE_HOST": "10.96.0.7",
    "HOTSET_SERVICE_PORT": "9000",
    "HOTSET_SERVICE_PORT_S3": "9000",
    "HOTSET_PORT": "tcp://10.96.0.7:9000",
    "HOTSET_PORT_9000_TCP": "tcp://10.96.0.7:9000",
    "HOTSET_VERSION": "0.2.0",
}
"""What a pod may find in its environment that is not for hotset."""


def unavailable() -> str | None:
    """Why there can be no pods here."""
    if os.geteuid() != 0:
        return "only root makes namespaces"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "ip", "curl") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed"
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "link", "set", "lo", "up"], capture_output=True, text=True
    )
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else None


class Pod:
    """A pod of what was rendered, with one container; `secrets` are those that exist already."""

    main = "hotset"
    """The container that is run."""
    component: str | None = None

    def __init__(
        self,
        folder: Path,
        program: Path,
        documents: list[dict],
        secrets: dict[str, dict[str, str]] | None = None,
    ):
        self.folder, self.program, self.documents = folder, program, documents
        found = workload(documents, self.component)
        self.spec = found["spec"]["template"]["spec"]
        self.name = f"{found['metadata']['name']}-0"
        self.claims = found["spec"].get("volumeClaimTemplates", [])
        self.container = next(one for one in containers(self.spec) if one["name"] == self.main)
        self.secrets = dict(secrets or {})
        for secret in of_kind(documents, "Secret"):
            given = {key: base64.b64decode(text).decode() for key, text in secret.get("data", {}).items()}
            self.secrets[secret["metadata"]["name"]] = given | secret.get("stringData", {})
        self.process: subprocess.Popen | None = None
        self.log = folder / "log"

    # What it is made of.

    def variables(self) -> dict[str, str]:
        env = {"PATH": "/bin:/usr/bin:/usr/sbin", "HOSTNAME": self.name, **SERVICE_LINKS}
        # No instance is asked for a role.
        env["AWS_EC2_METADATA_DISABLED"] = "true"
        for source in self.container.get("envFrom", []):
            env |= self.secrets[source["secretRef"]["name"]]
        for variable in self.container.get("env", []):
            value = variable.get("value", "")
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                value = self.secrets[reference["name"]][reference["key"]]
            elif field := variable.get("valueFrom", {}).get("fieldRef"):
                assert field == {"fieldPath": "metadata.name"}
                value = self.name
            for name, known in list(env.items()):
                value = value.replace(f"$({name})", known)
            env[variable["name"]] = value
        return env

    @property
    def user(self) -> tuple[int, int, int | None]:
        pod, own = self.spec.get("securityContext", {}), self.container["securityContext"]
        either = pod | own
        return either["runAsUser"], either["runAsGroup"], pod.get("fsGroup")

    def volume(self, name: str) -> Path:
        """Its folder, filled as kubelet would."""
        folder = self.folder / "volumes" / name
        if folder.exists():
            return folder
        folder.mkdir(parents=True)
        user, _, group = self.user
        volume = next((one for one in self.spec["volumes"] if one["name"] == name), None)
        if volume is None:
            assert name in [claim["metadata"]["name"] for claim in self.claims], name
            (folder / "lost+found").mkdir(mode=0o700)
            self.own(folder, 0, group, 0o2775)
        elif "projected" in volume:
            for source in volume["projected"]["sources"]:
                self.put(folder, source, volume["projected"]["defaultMode"], group)
        elif "configMap" in volume:
            self.put(
                folder,
                {"configMap": volume["configMap"]},
                volume["configMap"].get("defaultMode", 0o644),
                group,
            )
        elif "emptyDir" in volume:
            self.own(folder, 0, group, 0o2777)
        elif "ephemeral" in volume:
            self.own(folder, 0, group, 0o2775)
        else:
            assert volume["hostPath"]["type"] == "Directory"
            self.own(
                folder, user, None, 0o755
            )  # as whoever owns the nodes prepared it; kubelet changes nothing
        return folder

    def put(self, folder: Path, source: dict, mode: int, group: int | None) -> None:
        kind, reference = next(iter(source.items()))
        if kind == "configMap":
            content = one(self.documents, "ConfigMap", reference["name"])["data"]
        else:
            content = self.secrets[reference["name"]]
        items = reference.get("items", [{"key": key, "path": key} for key in content])
        for item in items:
            path = folder / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(content[item["key"]])
            self.own(path, 0, group, mode)

    @staticmethod
    def own(path: Path, user: int, group: int | None, mode: int) -> None:
        os.chown(path, user, -1 if group is None else group)
        os.chmod(path, mode)

    # Running it.

    def enter(self, command: list[str]) -> list[str]:
        """The command line that runs `command` as the container would."""
        root = self.folder / "root"
        for name in ("usr", "dev", "proc", "etc/ssl", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        for name in ("lib", "lib64"):
            if not (root / name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        (root / "bin").mkdir(exist_ok=True)
        (root / "bin/hotset").touch()
        lines = ["set -e", "mount --make-rprivate /", f"mount --bind {root} {root}"]
        lines += [f"mount --bind /{name} {root}/{name}" for name in ("usr", "dev", "proc", "etc/ssl")]
        lines.append(f"mount --bind {self.program} {root}/bin/hotset")
        for mount in self.container["volumeMounts"]:
            path = root / mount["mountPath"].lstrip("/")
            path.mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind {self.volume(mount['name'])} {path}")
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {path}")
        if self.container["securityContext"].get("readOnlyRootFilesystem"):
            lines.append(f"mount -o remount,bind,ro {root}")
        lines += ["ip link set lo up", f"ip address add {ADDRESS}/32 dev lo"]
        lines.append(f'exec chroot {root} {" ".join(self.drop())} "$@"')
        return ["unshare", "--net", "--mount", "sh", "-c", "\n".join(lines), "pod", *command]

    def drop(self) -> list[str]:
        user, group, files = self.user
        groups = ["--clear-groups"] if files is None else ["--groups", str(files)]
        names = ["--reuid", str(user), "--regid", str(group), *groups]
        return ["/usr/bin/setpriv", *names, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """hotset with other arguments, in the same surroundings."""
        command = self.enter(["hotset", *arguments])
        return subprocess.run(command, env=self.variables(), capture_output=True, text=True, timeout=60)

    def start(self, *more: str) -> None:
        with self.log.open("wb") as log:
            command = self.enter([*self.program_and_arguments(), *more])
            self.process = subprocess.Popen(
                command, env=self.variables(), stdout=log, stderr=log, start_new_session=True
            )
        self.wait(lambda: self.is_inside() or self.process.poll() is not None, 30)
        assert self.is_inside(), self.said()

    def program_and_arguments(self) -> list[str]:
        return ["hotset", *self.container["args"]]

    def is_inside(self) -> bool:
        """Whether the namespaces are made: until then the process is in those of this machine, and whoever enters
        them is no further than here."""
        process = Path(f"/proc/{self.process.pid}")
        try:
            is_made = (process / "comm").read_text() not in ("chroot\n", "setpriv\n")
            return is_made and (process / "root").readlink() == self.folder / "root"
        except OSError:
            return False

    def wait(self, until, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends all that runs in it, as it goes with a container's first process."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    # Asking it, as kubelet and clients do: from outside of the container, by the pod's address.

    def beside(self, command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """Runs a command in the network of the pod."""
        assert self.is_inside(), self.said()
        return subprocess.run(
            ["nsenter", "--target", str(self.process.pid), "--net", *command],
            env={"PATH": os.environ["PATH"], **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def http(self, port: int, path: str, *more: str) -> int:
        """The status of an answer; 0: none."""
        url = f"http://{ADDRESS}:{port}{path}"
        done = self.beside(
            [
                "curl",
                "--silent",
                "--max-time",
                "10",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                *more,
                url,
            ]
        )
        return int(done.stdout)

    def port(self, name: str | int) -> int:
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        return ports[name] if isinstance(name, str) else name

    def probe(self, name: str) -> bool:
        """One try of a probe of the container."""
        assert self.is_inside(), self.said()
        probe = self.container[name]
        if asked := probe.get("httpGet"):
            return 200 <= self.http(self.port(asked["port"]), asked["path"]) < 400
        inside = ["nsenter", "--target", str(self.process.pid), "--net", "--mount", "--root", *self.drop()]
        done = subprocess.run(
            [*inside, *probe["exec"]["command"]], env=self.variables(), capture_output=True, timeout=60
        )
        return done.returncode == 0

    def started(self) -> "Pod":
        """Waits for the startup probe as long as it may fail."""
        probe = self.container["startupProbe"]
        self.wait(lambda: self.probe("startupProbe"), probe["periodSeconds"] * probe["failureThreshold"])
        return self
