"""The message brokers that bring object events to hotset, as MinIO and Ceph use them.

Each keeps its state in its folder and listens on 127.0.0.1, so that it is the same one after a
restart on the same ports. `publish` sends a message the way that MinIO's target of that kind does.
"""

import asyncio
import json
import shutil
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import nats
import pika
import redis

from processes import Process, environment, free_port
from servers import Unavailable


class Broker:
    """One real broker; `config` is what hotset is told under `events.<name>`."""

    name: str
    program: str

    def __init__(self, folder: Path):
        if not self.found():
            raise Unavailable(f"{self.program} is not installed (`.ci/setup servers`, as root)")
        self.folder, self.port, self.processes = folder, free_port(), []

    @classmethod
    def found(cls) -> bool:
        return shutil.which(cls.program) is not None

    def start(self) -> None:
        process = self.run()
        self.processes.append(process)
        process.wait_until(lambda: listens(self.port), 60)

    def run(self) -> Process:
        raise NotImplementedError

    def process(self, name: str, command: list, **env: str) -> Process:
        return Process(name, command, self.folder / f"{name}.log", environment(**env))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def config(self) -> dict:
        raise NotImplementedError

    def prepare(self) -> None:
        """What MinIO's operator sets up, and MinIO itself at its first event."""

    def publish(self, body: bytes) -> None:
        raise NotImplementedError

    def unreadable(self) -> int | None:
        """How many messages were set aside because they cannot be read; None: the broker cannot tell."""
        return None

    def waiting(self) -> int:
        """How many messages are not acknowledged."""
        raise NotImplementedError


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Nats(Broker):
    name, program = "nats", "nats-server"

    def run(self) -> Process:
        store = ["-js", "-sd", self.folder / "store"]
        return self.process("nats", [self.program, *store, "-a", "127.0.0.1", "-p", self.port])

    def config(self) -> dict:
        return {"servers": [f"nats://127.0.0.1:{self.port}"], "stream": "S3", "consumer": "one"}

    def prepare(self) -> None:
        self.do(lambda stream: stream.add_stream(name="S3", subjects=["minio.>"]))

    def publish(self, body: bytes) -> None:
        self.do(lambda stream: stream.publish("minio.events", body))

    def waiting(self) -> int:
        info = self.do(lambda stream: stream.consumer_info("S3", "one"))
        return info.num_pending + info.num_ack_pending

    def do(self, action):
        async def run():
            client = await nats.connect(f"nats://127.0.0.1:{self.port}")
            try:
                return await action(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())


class RabbitMq(Broker):
    name, program = "amqp", "/usr/lib/rabbitmq/bin/rabbitmq-server"
    """Not the one in the path, which changes to a user of its own and its folders."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.ports = {"RABBITMQ_NODE_PORT": self.port, "RABBITMQ_DIST_PORT": free_port()}
        self.ports["ERL_EPMD_PORT"] = free_port()
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").touch()

    @property
    def env(self) -> dict[str, str]:
        return {name: str(port) for name, port in self.ports.items()} | {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
        }

    def run(self) -> Process:
        epmd = self.ports["ERL_EPMD_PORT"]
        # Started here, so that it ends with the test: the server would leave one behind.
        self.processes.append(self.process("epmd", ["epmd", "-port", epmd, "-address", "127.0.0.1"]))
        self.processes[-1].wait_until(lambda: listens(epmd))
        return self.process("rabbitmq", [self.program], **self.env)

    def config(self) -> dict:
        url = f"amqp://guest:guest@127.0.0.1:{self.port}"
        return {"url": url, "exchange": "minio", "queue": "one", "routing_key": "events"}

    def prepare(self) -> None:
        def make(channel) -> None:
            channel.exchange_declare("minio", "direct", durable=True)
            channel.queue_declare("unreadable", durable=True)

        self.do(make)
        # What is rejected goes to another queue.
        policy = {"dead-letter-exchange": "", "dead-letter-routing-key": "unreadable"}
        subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "set_policy", "dead", "^one$", json.dumps(policy)],
            env=environment(**self.env),
            check=True,
            capture_output=True,
            timeout=60,
        )

    def publish(self, body: bytes) -> None:
        persistent = pika.BasicProperties(delivery_mode=2)

        def send(channel) -> None:
            channel.confirm_delivery()
            channel.basic_publish("minio", "events", body, persistent)

        self.do(send)

    def unreadable(self) -> int:
        return self.count("unreadable")

    def waiting(self) -> int:
        return self.count("one")

    def count(self, queue: str) -> int:
        return self.do(lambda c: c.queue_declare(queue, passive=True).method.message_count)

    def do(self, action):
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))
        try:
            return action(connection.channel())
        finally:
            connection.close()


class Redis(Broker):
    name, program = "redis", "redis-server"

    def run(self) -> Process:
        keeps = ["--dir", self.folder, "--appendonly", "yes", "--appendfsync", "always"]
        return self.process("redis", [self.program, "--bind", "127.0.0.1", "--port", self.port, *keeps])

    def config(self) -> dict:
        return {"url": f"redis://127.0.0.1:{self.port}", "list": "minioevents"}

    def publish(self, body: bytes) -> None:
        try:
            record = json.loads(body)["Records"]
            body = json.dumps([{"Event": record, "EventTime": record[0]["eventTime"]}]).encode()
        except ValueError:
            pass
        self.client().rpush("minioevents", body)

    def unreadable(self) -> int:
        return self.client().llen("minioevents:hotset:unreadable")

    def waiting(self) -> int:
        client = self.client()
        return client.llen("minioevents") + client.llen("minioevents:hotset:taken")

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


BROKERS = {broker.name: broker for broker in (Nats, RabbitMq, Redis)}
