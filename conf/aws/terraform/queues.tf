# A queue gives each message to one reader: replicas that share one would each miss what the others hear.
#
# Not FIFO, which S3 and such a topic cannot send to. Encrypted with SSE-SQS: to a queue under AWS's own KMS key
# alias/aws/sqs neither SNS nor EventBridge can send, since nobody may change that key's policy.

locals {
  queue_names = {
    for queue in local.queues : queue => queue == "relay" ? "${var.name}-relay" : "${var.name}-replica-${queue}"
  }
}

resource "aws_sqs_queue" "this" {
  for_each = local.queues

  name                       = local.queue_names[each.key]
  sqs_managed_sse_enabled    = true
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 60
  message_retention_seconds  = 345600

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    # An hour of trouble.
    maxReceiveCount = 60
  })
}

resource "aws_sqs_queue" "dead" {
  for_each = local.queues

  name                      = "${var.name}-dead-${each.key}"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_policy" "this" {
  for_each = local.queues

  queue_url = aws_sqs_queue.this[each.key].url
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queues

  statement {
    sid       = "FromTheTopicOrTheRule"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.this[each.key].arn]

    principals {
      type        = "Service"
      identifiers = [local.by_sns ? "sns.amazonaws.com" : "events.amazonaws.com"]
    }

    # The ARN has the account in it.
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.by_sns ? aws_sns_topic.this[0].arn : aws_cloudwatch_event_rule.this[each.key].arn]
    }
  }
}

# For the role that hotset runs under: all that it needs to read its queues.
resource "aws_iam_policy" "consume" {
  count = var.replicas > 0 ? 1 : 0

  name        = "${var.name}-consume"
  description = "hotset reads the queues of its replicas"
  policy      = data.aws_iam_policy_document.consume[0].json
}

data "aws_iam_policy_document" "consume" {
  count = var.replicas > 0 ? 1 : 0

  statement {
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes",
    ]
    resources = [for replica in local.replicas : aws_sqs_queue.this[replica].arn]
  }
}
