"""The server of store.py as a process."""

import bisect
import json
import sys
import threading
from pathlib import Path

from load import Client
from processes import Process, answers, environment, free_port


class InMemory:
    """An S3 server that knows what it had when."""

    def __init__(self, folder: Path):
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        program = [sys.executable, Path(__file__).with_name("store.py"), port]
        self.process = Process("store", program, folder / "store.log", environment())
        self.process.wait_until(lambda: answers(f"{self.endpoint}/~history/none"))
        self.client = Client([port])
        self.lock = threading.Lock()

    def had(self, key: str, begin: float, end: float) -> list[str | None]:
        """The states of a key between two moments: how each begins; `None`: it was not there."""
        with self.lock:
            states = json.loads(self.client.once("GET", f"/~history{key}").body)
        first = bisect.bisect_right([at for at, _ in states], begin) - 1
        return [state for at, state in states[max(first, 0) :] if at <= end]
