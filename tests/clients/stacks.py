"""Stacks of conf/aws in moto: what happens in a bucket arrives in the replicas' queues."""

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import cfnlint.decode
from cfnlint.template import Template
from cfnlint.template.transforms import _language_extensions

from processes import Process, answers, environment, free_port
from servers import REGION, Server

AWS = Path(__file__).resolve().parents[2] / "conf/aws"
ACCOUNT = "123456789012"
"""Moto's."""


def start_moto(folder: Path) -> Server:
    port, log = free_port(), folder / "moto.log"
    program = Path(__file__).with_name("moto_stacks.py")
    words = [sys.executable, program, "-H", "127.0.0.1", "-p", port]
    process = Process("moto", words, log, environment())
    endpoint = f"http://127.0.0.1:{port}"
    process.wait_until(lambda: answers(endpoint))
    return Server(endpoint, "AKMAIN", "skmain", "moto", [process], log)


def keys(server: Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret}


def client(server: Server, service: str):
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.access,
        aws_secret_access_key=server.secret,
    )


def unrolled(template: Path, replicas: str) -> str:
    """The template as the transform of `Fn::ForEach` leaves it, which moto does not have but cfn-lint."""
    content, problems = cfnlint.decode.decode(str(template))
    assert not problems
    content["Parameters"]["Replicas"]["Default"] = replicas
    problems, plain = _language_extensions.language_extension(Template(str(template), content))
    assert not problems
    plain.pop("Transform")
    return json.dumps(plain)


class Stack:
    """events.yaml in front of a bucket, which somebody else is already told about."""

    def __init__(self, server: Server, folder: Path, **parameters: str):
        self.server, self.folder = server, folder
        self.bucket, self.name = f"b-{uuid.uuid4().hex[:12]}", f"s{uuid.uuid4().hex[:8]}"
        self.s3, self.sqs = client(server, "s3"), client(server, "sqs")
        self.s3.create_bucket(Bucket=self.bucket)
        self.other = self.sqs.create_queue(QueueName=f"{self.name}-other")["QueueUrl"]
        # S3 takes no two filters that overlap, of prefixes neither may begin the other.
        filter = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "others/"}]}}
        kept = {"Id": "kept", "QueueArn": self.arn(self.other), "Filter": filter}
        kept["Events"] = ["s3:ObjectCreated:*"]
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [kept]}
        )
        parameters = {"Prefix": "hot/"} | parameters
        parameters |= {"BucketName": self.bucket, "Name": self.name, "Replicas": "0,1,2"}
        stacks = client(server, "cloudformation")
        stacks.create_stack(
            StackName=self.name,
            TemplateBody=unrolled(AWS / "cloudformation/events.yaml", "0,1,2"),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        described = stacks.describe_stacks(StackName=self.name)["Stacks"][0]
        assert described["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {
            output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]
        }
        self.queues = [self.outputs[f"QueueUrl{replica}"] for replica in range(3)]
        for _ in range(2):  # it may be done again
            self.merge()
        self.received()  # S3's test events

    def arn(self, queue: str) -> str:
        return self.attributes(queue)["QueueArn"]

    def attributes(self, queue: str) -> dict:
        return self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]

    def merge(self) -> None:
        """The commands of the README."""
        script = readme_block("merge_notification.py").replace("conf/aws/", f"{AWS}/")
        variables = keys(self.server) | {"AWS_DEFAULT_REGION": REGION, "STACK": self.name}
        variables |= {"AWS_ENDPOINT_URL": self.server.endpoint, "BUCKET": self.bucket}
        variables |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=environment(**variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def messages(self, queue: str) -> list[dict]:
        """All that wait in a queue, which then are gone."""
        found = []
        while got := self.receive(queue):
            found += [json.loads(message["Body"]) for message in got]
            for message in got:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def receive(self, queue: str) -> list[dict]:
        got = self.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0
        )
        return got.get("Messages", [])

    def received(self) -> list[list[tuple[str, str]]]:
        """What each replica was told: names of events and keys, without the tagging that moto makes up."""
        return [
            [told for told in map(name_and_key, self.messages(queue)) if "Tag" not in told[0]]
            for queue in self.queues
        ]


def name_and_key(message: dict) -> tuple[str, str]:
    if "detail" in message:
        return message["detail-type"], message["detail"]["object"]["key"]
    if "Records" not in message:
        return message["Event"], ""
    [record] = message["Records"]
    return record["eventName"], record["s3"]["object"]["key"]


def readme_block(word: str) -> str:
    """The commands, or what else is in it, of the README's block that has the word in it."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", (AWS / "README.md").read_text(), re.DOTALL | re.M)
    [block] = [block for block in blocks if word in block]
    return re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
