"""A DynamoDB client in memory, for tests and benchmarks that need one.

tests/contract/test_fake_table.py holds it to DynamoDB Local.
"""

from tests.fake_table.table import InMemoryTable, client_error

__all__ = ["InMemoryTable", "client_error"]
