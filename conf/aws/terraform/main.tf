# S3's events to hotset: bucket -> SNS topic or EventBridge rules -> one SQS queue for each replica of hotset, and, with
# `relay`, one more that a Lambda function posts to hotset's webhooks. The same as ../cloudformation; how to apply it:
# ../README.md.

terraform {
  required_version = ">= 1.3"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    archive = {
      source  = "hashicorp/archive"
      version = ">= 2.3"
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  bucket_arn = "arn:${data.aws_partition.this.partition}:s3:::${var.bucket}"
  by_sns     = var.route == "sns"
  replicas   = toset([for number in range(var.replicas) : tostring(number)])
  queues     = setunion(local.replicas, var.relay == null ? [] : ["relay"])

  s3_events = [
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectRestore:*",
    "s3:ObjectTagging:*",
    "s3:ObjectAcl:Put",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ReducedRedundancyLostObject",
  ]

  # A filter of S3 has one prefix and one suffix.
  filters = [
    for pair in setproduct(
      length(var.prefixes) > 0 ? var.prefixes : [""],
      length(var.suffixes) > 0 ? var.suffixes : [""],
    ) : { prefix = pair[0], suffix = pair[1] }
  ]

  # Of prefixes and suffixes only one: both in one list would mean either, and as wildcards they would leave out keys
  # in which they overlap. An event too many is harmless.
  keys = concat(
    [for prefix in var.prefixes : { prefix = prefix }],
    length(var.prefixes) > 0 ? [] : [for suffix in var.suffixes : { suffix = suffix }],
  )
}

# The bucket: one configuration for everybody. See `manage_notification`.
resource "aws_s3_bucket_notification" "this" {
  count = var.manage_notification ? 1 : 0

  bucket      = var.bucket
  eventbridge = !local.by_sns

  dynamic "topic" {
    for_each = local.by_sns ? local.filters : []

    content {
      id            = "${var.name}-${topic.key}"
      topic_arn     = aws_sns_topic.this[0].arn
      events        = local.s3_events
      filter_prefix = topic.value.prefix
      filter_suffix = topic.value.suffix
    }
  }

  # S3 tries whether it may publish.
  depends_on = [aws_sns_topic_policy.this]
}

resource "aws_sns_topic" "this" {
  count = local.by_sns ? 1 : 0

  name              = "${var.name}-events"
  kms_master_key_id = var.topic_kms_key
}

resource "aws_sns_topic_policy" "this" {
  count = local.by_sns ? 1 : 0

  arn    = aws_sns_topic.this[0].arn
  policy = data.aws_iam_policy_document.topic[0].json
}

# An ARN of a bucket names no account: without the second condition, whoever gets a deleted bucket's name may publish.
data "aws_iam_policy_document" "topic" {
  count = local.by_sns ? 1 : 0

  statement {
    sid       = "FromTheBucket"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.this[0].arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.bucket_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

resource "aws_sns_topic_subscription" "this" {
  for_each = local.by_sns ? local.queues : toset([])

  topic_arn            = aws_sns_topic.this[0].arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.this[each.key].arn
  raw_message_delivery = true

  depends_on = [aws_sqs_queue_policy.this]
}

# A rule has at most five targets; a rule for each queue has no such end.
resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.by_sns ? toset([]) : local.queues

  name = local.queue_names[each.key]

  event_pattern = jsonencode({
    source = ["aws.s3"]
    detail-type = [
      "Object Created",
      "Object Deleted",
      "Object Restore Initiated",
      "Object Restore Completed",
      "Object Restore Expired",
      "Object Tags Added",
      "Object Tags Deleted",
      "Object ACL Updated",
      "Object Storage Class Changed",
      "Object Access Tier Changed",
    ]
    detail = merge(
      { bucket = { name = [var.bucket] } },
      length(local.keys) > 0 ? { object = { key = local.keys } } : {},
    )
  })
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.by_sns ? toset([]) : local.queues

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "queue"
  arn       = aws_sqs_queue.this[each.key].arn
}
