variable "name" {
  description = "How the names of all that is made here begin."
  type        = string
  default     = "hotset"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,40}$", var.name))
    error_message = "Up to 40 letters, digits, hyphens and underscores."
  }
}

variable "bucket" {
  description = "The bucket behind hotset, of this account and region."
  type        = string
}

variable "prefixes" {
  description = "Only keys that begin with one of these; none may begin with another one. Empty: all keys."
  type        = list(string)
  default     = []
}

variable "suffixes" {
  description = "Only keys that end with one of these; with EventBridge, only where there are no prefixes."
  type        = list(string)
  default     = []
}

variable "route" {
  description = "sns or eventbridge."
  type        = string
  default     = "sns"

  validation {
    condition     = contains(["sns", "eventbridge"], var.route)
    error_message = "It is sns or eventbridge."
  }
}

variable "replicas" {
  description = "How many replicas of hotset there are; each gets a queue, numbered from 0. With a relay it may be 0."
  type        = number
  default     = 2

  validation {
    condition     = var.replicas >= 0 && floor(var.replicas) == var.replicas
    error_message = "It is a whole number."
  }
}

variable "manage_notification" {
  description = <<-EOT
    Whether to set the bucket's notification configuration. A bucket has one, and this REPLACES all of it: only where
    nobody else is told anything. Otherwise merge the output bucket_notification into the resource that you have.
  EOT
  type        = bool
  default     = false
}

variable "topic_kms_key" {
  description = <<-EOT
    ARN of a KMS key of yours for the topic, whose policy lets s3.amazonaws.com do kms:GenerateDataKey and kms:Decrypt.
    AWS's own key alias/aws/sns does not, so S3 could not publish.
  EOT
  type        = string
  default     = null
}

variable "relay" {
  description = <<-EOT
    The Lambda function that posts events to hotset's webhooks, for where hotset cannot read queues itself: the URLs of
    all replicas' webhooks, and the ARN of the secret of Secrets Manager that hotset has in events.webhook.secrets.
    With subnets it reaches hotset (and Secrets Manager) from there; with ca_file, a PEM file, it trusts these
    authorities for hotset's certificates, and no others.
  EOT
  type = object({
    urls            = list(string)
    secret_arn      = string
    ca_file         = optional(string)
    subnets         = optional(list(string), [])
    security_groups = optional(list(string), [])
  })
  default = null
}
