"""Debian's haproxy as a load balancer for connections: it knows no HTTP but for its health checks."""

import csv
import shutil
import socket
from pathlib import Path

from kubelet import Replica
from processes import Process, environment, free_port

PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

# A connection that cannot be made to its server is refused (`retries 0`): clients see it, and count it. Small buffers,
# so that the pace of clients is that of replicas.
CONFIG = """
global
  stats socket {folder}/haproxy.sock
  tune.rcvbuf.server 65536
  tune.sndbuf.client 65536
  tune.rcvbuf.client 65536
  tune.sndbuf.server 65536
defaults
  mode tcp
  retries 0
  timeout connect 5s
  timeout client 5m
  timeout server 5m
frontend s3
  bind 127.0.0.1:{port}
  default_backend hotset
backend hotset
  balance roundrobin
  option httpchk GET /readyz
  timeout check 3s
  default-server check inter 1s fall 2 rise 1
{servers}
"""


class Haproxy:
    """In front of replicas, by their names; asks `/readyz` on the admin port."""

    def __init__(self, folder: Path, replicas: dict[str, Replica]):
        self.folder, self.port = folder, free_port()
        servers = [
            f"  server {name} 127.0.0.1:{replica.port} port {replica.admin}"
            for name, replica in replicas.items()
        ]
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=folder, port=self.port, servers="\n".join(servers)))
        command = [PROGRAM, "-db", "-f", config]
        self.process = Process("haproxy", command, folder / "haproxy.log", environment())

    def is_up(self, name: str) -> bool:
        """Whether it sends new connections there."""
        with socket.socket(socket.AF_UNIX) as asked:
            try:
                asked.connect(str(self.folder / "haproxy.sock"))
            except OSError:
                return False
            asked.sendall(b"show stat\n")
            with asked.makefile() as answer:
                rows = list(csv.DictReader(answer))
        return next(row["status"] for row in rows if row["svname"] == name).startswith("UP")

    def wait_until(self, is_so, seconds: float = 30) -> None:
        self.process.wait_until(is_so, seconds)

    def stop(self) -> None:
        self.process.stop()
