variable "table_name" {
  description = "Name of the table: the worker's setting dynamodb.table. One table per topic."
  type        = string
  default     = "mailboxes"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,120}$", var.table_name))
    error_message = "table_name must be 3 to 120 letters, digits, `_`, `.`, `-`: the policies are named after it."
  }
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the table. A topic does not bring acknowledgements back."
  type        = bool
  default     = true
}

variable "recovery_days" {
  description = "Days to which the table can be restored to a point in time; 0: no point-in-time recovery."
  type        = number
  default     = 35

  validation {
    condition     = var.recovery_days >= 0 && var.recovery_days <= 35 && floor(var.recovery_days) == var.recovery_days
    error_message = "recovery_days must be a whole number from 0 to 35."
  }
}

variable "write_units_per_s_max" {
  description = "Write units per second above which DynamoDB throttles, which bounds the bill; null: sets no limit; -1: removes one that was set."
  type        = number
  default     = null

  validation {
    condition     = var.write_units_per_s_max == null || try((var.write_units_per_s_max >= 1 || var.write_units_per_s_max == -1) && floor(var.write_units_per_s_max) == var.write_units_per_s_max, false)
    error_message = "write_units_per_s_max must be a whole number of 1 or more, -1 to remove a limit, or null."
  }
}

variable "gateways_delete" {
  description = "Whether gateways may delete: delete_acknowledged, tidy and remove_device need it."
  type        = bool
  default     = true
}

variable "policy_path" {
  description = "Path of the IAM policies."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^(/[A-Za-z0-9.,+@=_-]+)*/$", var.policy_path)) && length(var.policy_path) <= 512
    error_message = "policy_path must begin and end with `/`."
  }
}

variable "alarm_actions" {
  description = "ARNs that an alarm notifies, such as an SNS topic. Empty: alarms change their state alone."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:[a-z0-9-]+:[a-z0-9-]+:", arn))])
    error_message = "alarm_actions must be ARNs."
  }

  validation {
    condition     = length(var.alarm_actions) <= 5
    error_message = "alarm_actions must be 5 ARNs at most: CloudWatch takes no more for an alarm."
  }
}

variable "write_units_per_hour_alarm" {
  description = "Write units in an hour above which an alarm tells of an unexpected bill; null: no such alarm."
  type        = number
  default     = null

  validation {
    condition     = var.write_units_per_hour_alarm == null || try(var.write_units_per_hour_alarm > 0, false)
    error_message = "write_units_per_hour_alarm must be above 0, or null."
  }
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
