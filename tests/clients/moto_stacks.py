"""moto's server, whose CloudFormation also makes what the stacks of conf/aws need and moto leaves out.

Started like `moto_server`. Each class is one type of resource, made by the call that CloudFormation makes for it.
"""

import json

from moto.core.common_models import CloudFormationModel
from moto.server import main
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends


class Made:
    """A resource that has no name but its ID."""

    type: str

    def __init__(self, name: str):
        self.physical_resource_id = name

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def create_from_cloudformation_json(cls, name, resource, account_id, region, **_):
        return cls(cls.make(dict(resource["Properties"]), account_id, region) or name)


class Subscription(Made, CloudFormationModel):
    # moto knows its resources by its own modules.
    __module__ = "moto.sns"
    type = "AWS::SNS::Subscription"

    @staticmethod
    def make(wanted: dict, account: str, region: str) -> str:
        backend = sns_backends[account][region]
        asked = [wanted.pop(name) for name in ("TopicArn", "Endpoint", "Protocol")]
        arn = backend.subscribe(*asked).arn
        for name, value in wanted.items():
            backend.set_subscription_attributes(arn, name, value)
        return arn


class QueuePolicy(Made, CloudFormationModel):
    __module__ = "moto.sqs"
    type = "AWS::SQS::QueuePolicy"

    @staticmethod
    def make(wanted: dict, account: str, region: str) -> None:
        policy = {"Policy": json.dumps(wanted["PolicyDocument"])}
        for url in wanted["Queues"]:
            sqs_backends[account][region].set_queue_attributes(url.split("/")[-1], policy)


class TopicPolicy(Made, CloudFormationModel):
    __module__ = "moto.sns"
    type = "AWS::SNS::TopicPolicy"

    @staticmethod
    def make(wanted: dict, account: str, region: str) -> None:
        policy = json.dumps(wanted["PolicyDocument"])
        for arn in wanted["Topics"]:
            sns_backends[account][region].set_topic_attribute(arn, "policy", policy)


if __name__ == "__main__":
    main()
