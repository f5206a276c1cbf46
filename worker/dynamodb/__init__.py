"""DynamoDB, as the worker and the commands use it."""
