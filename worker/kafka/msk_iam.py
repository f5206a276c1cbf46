"""The token provider of AWS MSK with IAM: `kafka.sasl_oauth_token_provider`.

Needs the extra `msk-iam`. Region and credentials are those of the AWS SDK.
"""

import os

import boto3
from botocore.exceptions import NoRegionError


def token() -> str:
    """Return a token for the region of the AWS SDK's variables and files.

    Signing is local; only the credentials may need a call. Raises ImportError without the extra,
    and what the AWS SDK raises.
    """
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    region = boto3.Session().region_name or os.environ.get("AWS_REGION")
    if region is None:
        raise NoRegionError
    signed, _expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
    return str(signed)
