"""Certificates for tests of TLS. Their keys are public: trust them nowhere.

authority.pem signs all but untrusted.pem. Each of the others is a private key and its certificate:
localhost.pem and untrusted.pem for localhost until 2120, elsewhere.pem for elsewhere.example,
expired.pem for localhost until 2021. The encrypted keys have the password "right". Made with
trustme 1.2 (`trustme.CA().issue_cert(name, not_after=...)`), which knows how to make them anew.
"""

from pathlib import Path

HERE = Path(__file__).parent
AUTHORITY = HERE / "authority.pem"
LOCALHOST = HERE / "localhost.pem"
UNTRUSTED = HERE / "untrusted.pem"
ELSEWHERE = HERE / "elsewhere.pem"
EXPIRED = HERE / "expired.pem"
LOCALHOST_ENCRYPTED_KEY = HERE / "localhost-encrypted-key.pem"
ELSEWHERE_ENCRYPTED_KEY = HERE / "elsewhere-encrypted-key.pem"
