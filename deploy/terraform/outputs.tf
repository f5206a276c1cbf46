output "table_name" {
  description = "The worker's setting dynamodb.table, and open_mailboxes(table=...)."
  value       = aws_dynamodb_table.mailboxes.name
}

output "table_arn" {
  description = "ARN of the table."
  value       = aws_dynamodb_table.mailboxes.arn
}

output "policy_arns" {
  description = "ARNs of the policies to attach to the roles of worker, gateway and init."
  value       = { for program, policy in aws_iam_policy.program : program => policy.arn }
}
