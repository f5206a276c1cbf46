# What DynamoDB itself reports. Lag, dead letters and stalls are the worker's metrics: see
# config/prometheus/alerts.yml.

# Workers and readers wait through short throttling.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  for_each = toset(["Read", "Write"])

  alarm_name          = "${var.table_name}-${lower(each.key)}s-throttled"
  alarm_description   = "DynamoDB has throttled ${lower(each.key)}s of ${var.table_name} for 15 minutes: messages are late."
  namespace           = "AWS/DynamoDB"
  metric_name         = "${each.key}ThrottleEvents"
  dimensions          = { TableName = aws_dynamodb_table.mailboxes.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}

# Errors on DynamoDB's side, by the operations that workers and gateways call.
resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = toset([for action in concat(local.actions.worker, local.actions.gateway) : trimprefix(action, "dynamodb:")])

  alarm_name          = "${var.table_name}-${each.key}-errors"
  alarm_description   = "DynamoDB has answered ${each.key} on ${var.table_name} with errors of its own for 10 minutes."
  namespace           = "AWS/DynamoDB"
  metric_name         = "SystemErrors"
  dimensions          = { TableName = aws_dynamodb_table.mailboxes.name, Operation = each.key }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}

# A replay, or a producer that went wild.
resource "aws_cloudwatch_metric_alarm" "write_units" {
  count = var.write_units_per_hour_alarm == null ? 0 : 1

  alarm_name          = "${var.table_name}-write-units"
  alarm_description   = "${var.table_name} took more than ${var.write_units_per_hour_alarm} write units in an hour."
  namespace           = "AWS/DynamoDB"
  metric_name         = "ConsumedWriteCapacityUnits"
  dimensions          = { TableName = aws_dynamodb_table.mailboxes.name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.write_units_per_hour_alarm
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}
