"""The AWS SDK for JavaScript v3, in one Node process for each client: see tests/clients/node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

from adapters.base import PART, Client, Failed, Missing
from processes import environment
from servers import REGION, Endpoint

ROOT = Path(__file__).resolve().parents[3]


class AwsSdkJs(Client):
    """Whole reads ask for checksums; presigned URLs have `X-Amz-Content-Sha256` in their query."""

    name = "aws-sdk-js"

    def __init__(self, to: Endpoint, bucket: str, folder: Path):
        super().__init__(to, bucket, folder)
        modules = ROOT / "target/node/node_modules"
        if not shutil.which("node") or not (modules / "@aws-sdk/client-s3").exists():
            raise Missing("the AWS SDK for JavaScript is not installed (`.ci/setup clients`)")
        self.log = (folder / "node.log").open("wb")
        self.process = subprocess.Popen(
            ["node", ROOT / "tests/clients/node/client.js"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment(
                NODE_PATH=str(modules),
                AWS_ACCESS_KEY_ID=to.access,
                AWS_SECRET_ACCESS_KEY=to.secret,
                AWS_REGION=REGION,
                AWS_ENDPOINT_URL=to.endpoint,
                BUCKET=bucket,
                PART=str(PART),
            ),
        )

    def ask(self, operation: str, **inputs):
        self.process.stdin.write(json.dumps({"operation": operation} | inputs).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"node ended: {Path(self.log.name).read_text()}")
        answer = json.loads(line)
        if answer.get("status") == 404:
            raise FileNotFoundError(answer["error"])
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def list(self, prefix):
        return self.ask("list", prefix=prefix)

    def head(self, key):
        return self.ask("head", key=key)

    def read(self, key):
        return base64.b64decode(self.ask("get", key=key))

    def read_range(self, key, start, end):
        return base64.b64decode(self.ask("get", key=key, range=f"bytes={start}-{end - 1}"))

    def write(self, key, body):
        self.ask("put", key=key, body=base64.b64encode(body).decode())

    def copy(self, source, target):
        self.ask("copy", key=target, source=source)

    def delete(self, key):
        self.ask("delete", key=key)

    def presign(self, key, seconds, method="get"):
        return self.ask("presign", key=key, seconds=seconds, method=method)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
        self.log.close()


CLIENTS = [AwsSdkJs]
