"""conf/aws: the templates are valid, and a stack of them carries what happens in a bucket to each replica's queue."""

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import cfnlint.decode
import pytest
from cfnlint.template import Template
from cfnlint.template.transforms import _language_extensions

from processes import Process, answers, environment, free_port
from servers import REGION

AWS = Path(__file__).resolve().parents[2] / "conf/aws"
TEMPLATES = sorted((AWS / "cloudformation").glob("*.yaml"))
ACCOUNT = "123456789012"
"""Moto's."""
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKMAIN",
    "AWS_SECRET_ACCESS_KEY": "skmain",
    "AWS_DEFAULT_REGION": REGION,
}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_cloudformation_is_as_its_schemas_have_it(template):
    lint = [Path(sys.executable).with_name("cfn-lint"), "--regions", REGION, "--", template]
    done = subprocess.run(lint, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """Moto's endpoint."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "moto.log"
    program = Path(__file__).with_name("moto_stacks.py")
    words = [sys.executable, program, "-H", "127.0.0.1", "-p", port]
    process = Process("moto", words, log, environment())
    endpoint = f"http://127.0.0.1:{port}"
    process.wait_until(lambda: answers(endpoint))
    yield endpoint
    process.stop()


def client(endpoint: str, service: str):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
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

    def __init__(self, endpoint: str, folder: Path, **parameters: str):
        self.endpoint, self.folder = endpoint, folder
        self.bucket, self.name = f"b-{uuid.uuid4().hex[:12]}", f"s{uuid.uuid4().hex[:8]}"
        self.s3, self.sqs = client(endpoint, "s3"), client(endpoint, "sqs")
        self.s3.create_bucket(Bucket=self.bucket)
        self.other = self.sqs.create_queue(QueueName=f"{self.name}-other")["QueueUrl"]
        kept = {"Id": "kept", "QueueArn": self.arn(self.other), "Events": ["s3:ObjectCreated:Put"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [kept]}
        )
        parameters |= {"BucketName": self.bucket, "Name": self.name, "Replicas": "0,1,2"}
        stacks = client(endpoint, "cloudformation")
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
        script = readme_block("merge_notification.py")
        variables = KEYS | {"AWS_ENDPOINT_URL": self.endpoint, "STACK": self.name}
        variables |= {"BUCKET": self.bucket, "ROOT": str(AWS.parents[1])}
        variables |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"ln -sfn $ROOT/conf conf\n{script}"],
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
    """The commands of the README's block that has the word in it."""
    blocks = re.findall(r"```console\n(.*?)```", (AWS / "README.md").read_text(), re.DOTALL)
    [block] = [block for block in blocks if word in block]
    return re.sub(r"^\$ ", "", block, flags=re.MULTILINE)


NAMES = {
    "sns": ("ObjectCreated:Put", "ObjectRemoved:Delete"),
    "eventbridge": ("Object Created", "Object Deleted"),
}


@pytest.fixture(scope="module", params=NAMES)
def stack(request, moto, tmp_path_factory) -> Stack:
    folder = tmp_path_factory.mktemp(request.param)
    made = Stack(moto, folder, Route=request.param, Prefix="hot/", Suffix=".bin")
    made.names = NAMES[request.param]
    made.route = request.param
    return made


def test_each_replica_hears_of_everything_in_a_queue_of_its_own(stack):
    created, removed = stack.names
    stack.s3.put_object(Bucket=stack.bucket, Key="hot/a.bin", Body=b"1")
    stack.s3.put_object(Bucket=stack.bucket, Key="cold/a.bin", Body=b"1")
    stack.s3.delete_object(Bucket=stack.bucket, Key="hot/a.bin")
    told = [(created, "hot/a.bin"), (removed, "hot/a.bin")]
    written = [[(name, key.replace("%2F", "/")) for name, key in got] for got in stack.received()]
    assert written == [told] * 3


def test_what_the_bucket_told_others_it_tells_them_still(stack):
    stack.messages(stack.other)
    stack.s3.put_object(Bucket=stack.bucket, Key="kept", Body=b"1")
    assert [name for name, _ in map(name_and_key, stack.messages(stack.other))] == [
        "ObjectCreated:Put"
    ]
    set_up = stack.s3.get_bucket_notification_configuration(Bucket=stack.bucket)
    assert [queue["Id"] for queue in set_up["QueueConfigurations"]] == ["kept"]
    assert len(set_up.get("TopicConfigurations", [])) == (1 if stack.route == "sns" else 0)


def test_only_the_topic_or_the_rule_may_send_to_a_queue(stack):
    for number, queue in enumerate(stack.queues):
        attributes = stack.attributes(queue)
        [statement] = json.loads(attributes["Policy"])["Statement"]
        name = stack.name
        source = {
            "sns": f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}-events",
            "eventbridge": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}-replica-{number}",
        }[stack.route]
        service = {"sns": "sns", "eventbridge": "events"}[stack.route]
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        assert statement["Resource"] == attributes["QueueArn"]
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": source}}


def test_only_the_bucket_may_publish(stack):
    if stack.route != "sns":
        pytest.skip("there is no topic")
    arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{stack.name}-events"
    attributes = client(stack.endpoint, "sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sns:Publish"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{stack.bucket}"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_what_a_replica_cannot_take_is_kept_and_the_queue_is_encrypted(stack):
    dead = set()
    for queue in stack.queues:
        attributes = stack.attributes(queue)
        assert attributes["SqsManagedSseEnabled"] == "true"
        dead.add(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"])
    assert len(dead) == 3


def test_hotset_may_read_its_queues_and_nothing_else(stack):
    iam = client(stack.endpoint, "iam")
    policy = iam.get_policy(PolicyArn=stack.outputs["ConsumePolicy"])["Policy"]
    version = iam.get_policy_version(
        PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
    )["PolicyVersion"]
    [statement] = version["Document"]["Statement"]
    names = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"]
    assert statement["Action"] == [f"sqs:{name}" for name in names]
    begins = statement["Resource"].removesuffix("*")
    queues = client(stack.endpoint, "sqs").list_queues(QueueNamePrefix=stack.name)["QueueUrls"]
    arns = {stack.arn(queue) for queue in queues}
    assert {arn for arn in arns if arn.startswith(begins)} == set(map(stack.arn, stack.queues))
