output "queue_urls" {
  description = "For events.sqs of each replica, in their order."
  value       = [for number in range(var.replicas) : aws_sqs_queue.this[tostring(number)].url]
}

output "consume_policy" {
  description = "To be attached to the role that hotset runs under."
  value       = one(aws_iam_policy.consume[*].arn)
}

output "bucket_notification" {
  description = "To be merged into the bucket's notification configuration, unless manage_notification did it."
  value = !local.by_sns ? jsonencode({ EventBridgeConfiguration = {} }) : jsonencode({
    TopicConfigurations = [
      for number, filter in local.filters : merge(
        {
          Id       = "${var.name}-${number}"
          TopicArn = aws_sns_topic.this[0].arn
          Events   = local.s3_events
        },
        filter.prefix == "" && filter.suffix == "" ? {} : {
          Filter = {
            Key = {
              FilterRules = [
                for name, value in filter : { Name = name, Value = value } if value != ""
              ]
            }
          }
        },
      )
    ]
  })
}

output "dead_letter_queues" {
  description = "ARNs to watch: whatever is in one of these was never told to that replica."
  value       = { for queue in local.queues : queue => aws_sqs_queue.dead[queue].arn }
}
