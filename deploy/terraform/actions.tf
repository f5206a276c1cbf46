# What each program calls on the table, and nothing else (docs/dynamodb.md#permissions).
locals {
  actions = {
    gateway = concat(
      ["dynamodb:Query", "dynamodb:UpdateItem"],
      var.gateways_delete ? ["dynamodb:BatchWriteItem"] : [],
    )
    worker = [
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
      "dynamodb:BatchWriteItem",
    ]
    # Of a table that is made here `poste init` creates nothing but its record.
    init = [
      "dynamodb:DescribeTable",
      "dynamodb:CreateTable",
      "dynamodb:DescribeTimeToLive",
      "dynamodb:UpdateTimeToLive",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
    ]
  }
}
