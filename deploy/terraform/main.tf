# The table as `poste init` makes it; `poste init` verifies it, and writes its record. Run it once
# after the first apply, before the workers.
resource "aws_dynamodb_table" "mailboxes" {
  name                        = var.table_name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "user_id"
  range_key                   = "position"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "user_id"
    type = "S"
  }

  attribute {
    name = "position"
    type = "S"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  point_in_time_recovery {
    enabled                 = var.recovery_days > 0
    recovery_period_in_days = var.recovery_days > 0 ? var.recovery_days : null
  }

  dynamic "on_demand_throughput" {
    for_each = var.write_units_per_s_max[*]

    content {
      max_write_request_units = on_demand_throughput.value
    }
  }
}

resource "aws_iam_policy" "program" {
  for_each = local.actions

  name        = "${var.table_name}-${each.key}"
  path        = var.policy_path
  description = "What the ${each.key} of poste-restante calls on the table ${var.table_name}"
  tags        = var.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = each.value
      Resource = aws_dynamodb_table.mailboxes.arn
    }]
  })
}
