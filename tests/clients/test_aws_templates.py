"""conf/aws: the templates are valid, and a stack of them carries what happens in a bucket to each replica's queue."""

import json
import re
import subprocess
import sys
from pathlib import Path

import hcl2
import pytest

from processes import environment
from servers import REGION
from stacks import ACCOUNT, AWS, Stack, client, name_and_key, start_moto

TEMPLATES = sorted((AWS / "cloudformation").glob("*.yaml"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_cloudformation_is_as_its_schemas_have_it(template):
    lint = [Path(sys.executable).with_name("cfn-lint"), "--regions", REGION, "--", template]
    done = subprocess.run(lint, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def terraform() -> dict[str, dict]:
    """The module: its blocks by their address, such as `aws_sqs_queue.this`, `var.name` or `local.queues`."""
    found = {}
    for path in sorted((AWS / "terraform").glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text()).items():
            for block in blocks if not kind.startswith("__") else []:
                found |= addressed(kind, {name.strip('"'): part for name, part in block.items()})
    return found


def addressed(kind: str, block: dict) -> dict[str, dict]:
    if kind in ("resource", "data"):
        begin = "data." if kind == "data" else ""
        [(type, named)] = block.items()
        return {f"{begin}{type}.{name}".replace('"', ""): part for name, part in named.items()}
    begin = {"variable": "var.", "locals": "local.", "output": "output."}.get(kind, f"{kind}.")
    return {f"{begin}{name}": part for name, part in block.items() if not name.startswith("__")}


REFERENCE = re.compile(r"(?<![\w.\"])((?:data\.)?(?:aws|archive)_\w+\.\w+|(?:var|local)\.\w+)")


def test_terraform_names_what_is_there_and_nothing_is_there_for_nothing(terraform):
    text = "\n".join(path.read_text() for path in (AWS / "terraform").glob("*.tf"))
    text = re.sub(r"#.*|`.*?`", "", text)
    named = set(REFERENCE.findall(text))
    assert named <= terraform.keys()
    declared = {address for address in terraform if address.startswith(("var.", "local.", "data."))}
    assert declared <= named


def test_terraform_and_cloudformation_make_the_same(terraform):
    template = (AWS / "cloudformation/events.yaml").read_text()
    relay = (AWS / "cloudformation/relay.yaml").read_text()
    module = json.dumps(terraform).replace('\\"', '"')
    for said in (
        r"s3:[A-Z]\w+(?::[\w*]+)?",
        r"Object [A-Z]\w+(?: [A-Z]\w+)*",
        r"(?:sqs|sns|secretsmanager):[A-Z]\w+",
        r"aws:Source\w+",
        r"AWSLambda\w+Role",
        r"\b(?:60|345600|1209600)\b",
    ):
        ours = set(re.findall(said, module))
        assert ours and ours == set(re.findall(said, template + relay)), said


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    running = start_moto(tmp_path_factory.mktemp("moto"))
    yield running
    running.stop()


NAMES = {
    "sns": ("ObjectCreated:Put", "ObjectRemoved:Delete"),
    "eventbridge": ("Object Created", "Object Deleted"),
}


@pytest.fixture(scope="module", params=NAMES)
def stack(request, moto, tmp_path_factory) -> Stack:
    folder = tmp_path_factory.mktemp(request.param)
    made = Stack(moto, folder, Route=request.param, Suffix=".bin")
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
    stack.s3.put_object(Bucket=stack.bucket, Key="others/kept", Body=b"1")
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
    sns, arn = client(stack.server, "sns"), f"arn:aws:sns:{REGION}:{ACCOUNT}:{stack.name}-events"
    if stack.route == "eventbridge":
        assert arn not in [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
        return
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
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
    iam = client(stack.server, "iam")
    policy = iam.get_policy(PolicyArn=stack.outputs["ConsumePolicy"])["Policy"]
    version = iam.get_policy_version(
        PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
    )["PolicyVersion"]
    [statement] = version["Document"]["Statement"]
    names = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"]
    assert statement["Action"] == [f"sqs:{name}" for name in names]
    begins = statement["Resource"].removesuffix("*")
    queues = client(stack.server, "sqs").list_queues(QueueNamePrefix=stack.name)["QueueUrls"]
    arns = {stack.arn(queue) for queue in queues}
    assert {arn for arn in arns if arn.startswith(begins)} == set(map(stack.arn, stack.queues))
