# The function ../lambda/hotset_relay.py between its queue and hotset's webhooks.

locals {
  relay = { for relay in var.relay[*] : "this" => relay }
}

data "archive_file" "relay" {
  for_each = local.relay

  type        = "zip"
  output_path = "${path.root}/.terraform/hotset_relay.zip"

  source {
    filename = "hotset_relay.py"
    content  = file("${path.module}/../lambda/hotset_relay.py")
  }

  dynamic "source" {
    for_each = each.value.ca_file[*]

    content {
      filename = "ca.pem"
      content  = file(source.value)
    }
  }
}

resource "aws_lambda_function" "relay" {
  for_each = local.relay

  function_name    = "${var.name}-relay"
  runtime          = "python3.12"
  architectures    = ["arm64"]
  handler          = "hotset_relay.handler"
  filename         = data.archive_file.relay[each.key].output_path
  source_code_hash = data.archive_file.relay[each.key].output_base64sha256
  memory_size      = 256
  # A sixth of the time for which the queue hides what it handed out, as Lambda's guide has it.
  timeout = 10
  role    = aws_iam_role.relay[each.key].arn

  environment {
    variables = {
      HOTSET_URLS       = join(",", each.value.urls)
      HOTSET_SECRET_ARN = each.value.secret_arn
      HOTSET_CA_FILE    = each.value.ca_file == null ? "" : "ca.pem"
      HOTSET_TIMEOUT    = "3"
    }
  }

  dynamic "vpc_config" {
    for_each = length(each.value.subnets) > 0 ? [each.value] : []

    content {
      subnet_ids         = vpc_config.value.subnets
      security_group_ids = vpc_config.value.security_groups
    }
  }
}

resource "aws_lambda_event_source_mapping" "relay" {
  for_each = local.relay

  event_source_arn = aws_sqs_queue.this["relay"].arn
  function_name    = aws_lambda_function.relay[each.key].arn
  batch_size       = 10
  # Without it one message that is not taken brings the other nine again.
  function_response_types = ["ReportBatchItemFailures"]

  depends_on = [aws_iam_role_policy.relay]
}

resource "aws_iam_role" "relay" {
  for_each = local.relay

  name = "${var.name}-relay"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# Its log, and in a VPC its network interfaces.
resource "aws_iam_role_policy_attachment" "relay" {
  for_each = local.relay

  role = aws_iam_role.relay[each.key].name
  policy_arn = join("", [
    "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/",
    length(each.value.subnets) > 0 ? "AWSLambdaVPCAccessExecutionRole" : "AWSLambdaBasicExecutionRole",
  ])
}

resource "aws_iam_role_policy" "relay" {
  for_each = local.relay

  name = "relay"
  role = aws_iam_role.relay[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        Resource = aws_sqs_queue.this["relay"].arn
      },
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = each.value.secret_arn
      },
    ]
  })
}
