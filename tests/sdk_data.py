"""The SDK's own data, read once in a process.

botocore reads its description of DynamoDB, of every region and of every service for each session
anew: 50 ms of the processor, where the client itself takes ten. The tests open thousands of
sessions. All of a process here have one loader, as all clients of one session have.
"""

from functools import cache

import botocore.session


def share_sdk_data() -> None:
    """From here on each session of this process has the loader of the first one of its path."""
    botocore.session.create_loader = cache(botocore.session.create_loader)


def load_sdk_data() -> None:
    """Read now what a client of DynamoDB needs; what is forked from this process has it."""
    session = botocore.session.get_session()
    session.create_client("dynamodb", region_name="us-east-1")
