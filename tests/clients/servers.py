"""The real S3 servers that stand behind hotset.

Each starter gives a running `Server` or raises `Unavailable` with the reason, which skips its
tests. Everything listens on 127.0.0.1 and keeps its state in the folder that it is given.
"""

import random
import re
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from processes import Process, answers, environment, free_port

REGION = "us-east-1"
REQUEST_LINE = re.compile(r'"([A-Z]+) (\S+) HTTP/1\.[01]" (\d{3})')


class Unavailable(Exception):
    """The server cannot be had on this machine."""


@dataclass
class Endpoint:
    """Where a client connects, and its keys."""

    endpoint: str
    access: str
    secret: str

    @property
    def virtual(self) -> str:
        """The endpoint for clients that put the bucket into the host, where it takes that."""
        return self.endpoint


@dataclass
class Server(Endpoint):
    name: str
    processes: list[Process]
    log: Path
    """Where the server writes a line for each request, in the common log format."""

    def requests(self, bucket: str, key: str) -> Counter:
        """How often each method was asked of that object, whatever the query."""
        found = Counter()
        for method, target, _ in REQUEST_LINE.findall(self.log.read_text(errors="replace")):
            if target.split("?")[0] == f"/{bucket}/{key}":
                found[method] += 1
        return found

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()


def start_moto(folder: Path) -> Server:
    port, log = free_port(), folder / "moto.log"
    program = Path(sys.executable).with_name("moto_server")
    if not program.exists():
        raise Unavailable("moto is not installed beside this Python (`.ci/setup clients`)")
    moto = Process("moto", [program, "-H", "127.0.0.1", "-p", port], log, environment())
    moto.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
    return Server(f"http://127.0.0.1:{port}", "AKMAIN", "skmain", "moto", [moto], log)


CEPH_PROGRAMS = (
    "monmaptool ceph-authtool ceph-mon ceph-mgr ceph-osd ceph radosgw radosgw-admin"
).split()

CEPH_CONF = """
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {ports}
ms_bind_port_max = {ports_end}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {folder}/keyring
run_dir = {folder}/run
log_file = {folder}/log/$name.log
admin_socket = {folder}/run/$name.$pid.asok
crash_dir = {folder}/crash
mon_data = {folder}/mon.a
mgr_data = {folder}/mgr.x
osd_data = {folder}/osd.0
# One disk that is memory, one copy of everything, and no complaints about either.
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[client.rgw]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_dns_name = localhost
rgw_enable_usage_log = false
rgw_crypt_require_ssl = false
rgw_thread_pool_size = 64
# It takes the password of a receiver of notifications only over TLS, or from who says that it was.
rgw_trust_forwarded_https = true
"""


class Ceph:
    """A Ceph cluster of one monitor, one manager, one memory-backed OSD and a radosgw."""

    def __init__(self, folder: Path):
        self.folder, self.port, self.processes = folder, free_port(), []
        for name in ("mon.a", "mgr.x", "osd.0", "rgw", "run", "log", "crash"):
            (folder / name).mkdir(parents=True)
        # Daemons take free ports of a range themselves; below where the system picks its own.
        ports = random.randrange(12_000, 28_000, 100)
        self.conf, self.keyring = folder / "ceph.conf", folder / "keyring"
        self.fsid, self.mons = str(uuid.uuid4()), (free_port(), free_port())
        self.conf.write_text(
            CEPH_CONF.format(
                fsid=self.fsid,
                folder=folder,
                port=self.port,
                mon_v2=self.mons[0],
                mon_v1=self.mons[1],
                ports=ports,
                ports_end=ports + 99,
            )
        )

    def run(self, *command) -> str:
        done = subprocess.run(
            [str(word) for word in command],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
        return done.stdout

    def succeeds(self, *command) -> bool:
        done = subprocess.run(command, env=environment(), capture_output=True, timeout=60)
        return done.returncode == 0

    def daemon(self, name: str, *command) -> Process:
        log = self.folder / "log" / f"{name}.out"
        words = [*command, "-c", self.conf, "-f"]
        self.processes.append(Process(name, words, log, environment()))
        return self.processes[-1]

    def make_keys(self) -> None:
        v2, v1 = self.mons
        monmap = self.folder / "monmap"
        addresses = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        self.run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", addresses, monmap)
        make = ("ceph-authtool", self.keyring, "--gen-key")
        self.run(*make, "--create-keyring", "-n", "mon.", "--cap", "mon", "allow *")
        everything = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        for name in ("client.admin", "client.rgw", "mgr.x", "osd.0"):
            self.run(*make, "-n", name, *everything)
        self.run(
            "ceph-mon", "-c", self.conf, "-i", "a", "--mkfs",
            "--monmap", monmap, "--keyring", self.keyring,
        )  # fmt: skip

    def start(self) -> None:
        ceph = ("ceph", "-c", str(self.conf), "--connect-timeout", "2")
        self.make_keys()
        monitor = self.daemon("mon", "ceph-mon", "-i", "a")
        monitor.wait_until(lambda: self.succeeds(*ceph, "quorum_status"), 60)
        self.daemon("mgr", "ceph-mgr", "-i", "x")
        osd_uuid = str(uuid.uuid4())
        self.run(*ceph, "osd", "new", osd_uuid)
        self.run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", osd_uuid)
        osd = self.daemon("osd", "ceph-osd", "-i", "0")
        osd.wait_until(lambda: "1 up" in self.run(*ceph, "osd", "stat"), 60)
        gateway = self.daemon("rgw", "radosgw", "-n", "client.rgw")
        gateway.wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/"), 120)

    def add_user(self, access: str, secret: str) -> None:
        self.run(
            "radosgw-admin", "-c", self.conf, "user", "create", "--uid=main",
            "--display-name=Main", f"--access-key={access}", f"--secret-key={secret}",
        )  # fmt: skip


def start_radosgw(folder: Path) -> Server:
    missing = [program for program in CEPH_PROGRAMS if not shutil.which(program)]
    if missing:
        raise Unavailable(
            f"{missing[0]} is not installed (`.ci/setup servers`, as root where there is apt-get)"
        )
    ceph = Ceph(folder / "ceph")
    access, secret = "AKMAIN", "skmain"
    try:
        ceph.start()
        ceph.add_user(access, secret)
    except BaseException:
        for process in reversed(ceph.processes):
            process.stop()
        raise
    log = ceph.folder / "log" / "client.rgw.log"
    endpoint = f"http://127.0.0.1:{ceph.port}"
    return Server(endpoint, access, secret, "radosgw", ceph.processes, log)


STARTERS = {"moto": start_moto, "radosgw": start_radosgw}
