"""hotset in front of a server, with blocks so small that small objects have many."""

import json
import re
import urllib.request
import uuid
from copy import copy
from pathlib import Path

from processes import Process, answers, answers_ok, environment, free_port
from servers import REGION, Endpoint, Server

DOMAIN = "s3.local"
"""Below it, a label of the Host is a bucket."""
LISTS = "lists-"
"""How buckets begin whose lists are answered from memory."""


EVERYTHING = ["read", "write", "list", "delete", "admin"]

# What each identity may do where. `narrow` may do all that has to do with objects in a folder.
IDENTITIES = {
    "client": (EVERYTHING, "**"),
    "reader": (["read", "list"], "**"),
    "narrow": (["read", "write", "list", "delete"], "*/mine/**"),
}

STATUS = re.compile(r'"[A-Z-]+ \S+" (\d{3}) ')
"""Of an access log line."""


def keys_of(identity: str) -> tuple[str, str]:
    return f"AK{identity.upper()}", f"sk{identity}"


def identities() -> dict:
    found = []
    for name, (actions, resources) in IDENTITIES.items():
        access, secret = keys_of(name)
        keys = {"name": name, "access_key": access, "secret_key": secret}
        found.append(keys | {"allow": [{"actions": actions, "resources": [resources]}]})
    return {"identities": found}


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2))  # JSON is YAML


class Hotset(Endpoint):
    """`mode` is `auth.mode`. Under `verify` clients have keys that the origin does not know.

    `events` is the key of that name, with ports to take; with it, hotset believes what it knows for an hour.
    """

    def __init__(self, program: Path, folder: Path, origin: Server, mode: str, events: dict | None = None):
        listen, admin = free_port(), free_port()
        keys = (origin.access, origin.secret) if mode == "trust" else keys_of("client")
        super().__init__(f"http://127.0.0.1:{listen}", *keys)
        self.admin = f"http://127.0.0.1:{admin}"
        written = self.config(listen, admin, origin)
        if events:
            written["events"] = events
            written["rules"] = [{"match": "**", "freshness": {"ttl": "1h"}}]
        if mode == "verify":
            written["auth"] = {"mode": mode, "identities": str(folder / "identities.yaml")}
            write(folder / "identities.yaml", identities())
        config = folder / "hotset.yaml"
        write(config, written)
        keys = {"AWS_ACCESS_KEY_ID": origin.access, "AWS_SECRET_ACCESS_KEY": origin.secret}
        self.process = Process(
            "hotset",
            [program, "serve", "--config", config],
            folder / "hotset.log",
            environment(**keys),
        )
        self.process.wait_until(lambda: answers_ok(f"{self.admin}/readyz"))

    @property
    def virtual(self) -> str:
        return self.endpoint.replace("127.0.0.1", DOMAIN)

    def for_(self, access: str, secret: str) -> Endpoint:
        """The same hotset for a client with other keys."""
        other = copy(self)
        other.access, other.secret = access, secret
        return other

    def metric(self, series: str) -> float:
        """The value of a series, as `/metrics` prints it; 0 when it is not there."""
        lines = self.metrics().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{series} "))

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def statuses(self) -> list[int]:
        """Of all requests until now, once the log has caught up: it is written beside the answers."""
        marker = f"/marker-{uuid.uuid4().hex}"
        answers(f"{self.endpoint}{marker}")
        self.process.wait_until(lambda: marker in self.process.log.read_text(errors="replace"))
        lines = self.process.log.read_text(errors="replace").splitlines()
        found = [STATUS.search(line) for line in lines if "/marker-" not in line]
        return [int(status[1]) for status in found if status]

    def config(self, listen: int, admin: int, origin: Server) -> dict:
        return {
            "listen": [{"address": f"127.0.0.1:{listen}", "domains": [DOMAIN]}],
            "admin": {"address": f"127.0.0.1:{admin}"},
            "origin": {"endpoint": origin.endpoint, "region": REGION, "addressing": "path"},
            "cache": {
                "memory": "256MiB",
                "block": "64KiB",
                "fetch": "256KiB",
                "in_flight": "64MiB",
                "read_ahead": "1MiB",
            },
            "rules": [
                {"match": f"{LISTS}*/**", "freshness": {"ttl": "60s"}, "lists": "30s"},
                {"match": "**", "freshness": {"ttl": "60s"}},
            ],
            "log": {"access": "plain"},
        }

    def kill(self) -> None:
        """As a power cut would: nothing is finished."""
        self.process.child.kill()
        self.process.child.wait()

    def stop(self) -> None:
        code = self.process.stop(40)
        assert code == 0, f"hotset ended with {code} on SIGTERM:\n{self.process.tail()}"
