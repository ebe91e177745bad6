"""hotset in front of a server, with blocks so small that small objects have many."""

import json
from pathlib import Path

from processes import Process, answers_ok, environment, free_port
from servers import REGION, Endpoint, Server

DOMAIN = "s3.local"
"""Below it, a label of the Host is a bucket."""
LISTS = "lists-"
"""How buckets begin whose lists are answered from memory."""


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2))  # JSON is YAML


class Hotset(Endpoint):
    """`mode` is `auth.mode`. Under `verify` clients have keys that the origin does not know."""

    def __init__(self, program: Path, folder: Path, origin: Server, mode: str):
        listen, admin = free_port(), free_port()
        keys = (origin.access, origin.secret) if mode == "trust" else ("AKCLIENT", "skclient")
        super().__init__(f"http://127.0.0.1:{listen}", *keys)
        self.admin = f"http://127.0.0.1:{admin}"
        written = self.config(listen, admin, origin)
        if mode == "verify":
            written["auth"] = {"mode": mode, "identities": str(folder / "identities.yaml")}
            write(folder / "identities.yaml", self.identities())
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

    def identities(self) -> dict:
        everything = ["read", "write", "list", "delete", "admin"]
        client = {
            "name": "client",
            "access_key": self.access,
            "secret_key": self.secret,
            "allow": [{"actions": everything, "resources": ["**"]}],
        }
        return {"identities": [client]}

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

    def stop(self) -> None:
        code = self.process.stop(40)
        assert code == 0, f"hotset ended with {code} on SIGTERM:\n{self.process.tail()}"
