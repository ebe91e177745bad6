"""Webhooks that answer as they are told to, over real sockets: what stands for hotset's replicas in unit tests."""

import ssl
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DROP = "drop"
"""In place of a status: the connection ends without an answer."""
HANG = "hang"
"""In place of a status: no answer until the webhook is stopped."""


@dataclass
class Request:
    target: str
    headers: Message
    body: bytes


class Webhook:
    """Answers with `answers`, one after another, then 200; keeps what it got."""

    def __init__(self, *answers: int | str, tls: ssl.SSLContext | None = None):
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    def handler(self):
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                webhook.requests.append(Request(self.path, self.headers, body))
                answer = webhook.answers.pop(0) if webhook.answers else 200
                if answer == HANG:
                    webhook.stopped.wait()
                if answer in (DROP, HANG):
                    self.close_connection = True
                    return
                self.send_response(answer)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "5")
                self.end_headers()
                self.wfile.write(b"word\n")

            def log_message(self, *_):
                pass

        return Handler

    def stop(self) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
