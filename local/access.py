"""A broker with access control: SASL/PLAIN users and ACLs.

Clients of its plain listener are `User:ANONYMOUS`, who may do everything, as the tests' tools do. A
second listener, `SECURED`, requires a name and a password, and the authorizer refuses what no ACL
allows.
"""

from collections.abc import Mapping

#: The name of the second listener.
SECURED = "SECURED"
#: Its protocol and mechanism, as in the product's settings.
PROTOCOL, MECHANISM = "SASL_PLAINTEXT", "PLAIN"
_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def access_properties(users: Mapping[str, str]) -> dict[str, str]:
    """Return the server properties of a broker with these users, name -> password; {} without
    users."""
    if not users:
        return {}
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    listener = f"listener.name.{SECURED.lower()}"
    return {
        "authorizer.class.name": _AUTHORIZER,
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": MECHANISM,
        f"{listener}.{MECHANISM.lower()}.sasl.jaas.config": f"{_LOGIN} required {known};",
    }


def user_environment(bootstrap: str, name: str, password: str) -> dict[str, str]:
    """Return the settings of a `poste` that connects to the second listener as this user."""
    return {
        "POSTE_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "POSTE_KAFKA__SECURITY_PROTOCOL": PROTOCOL,
        "POSTE_KAFKA__SASL_MECHANISM": MECHANISM,
        "POSTE_KAFKA__SASL_PLAIN_USERNAME": name,
        "POSTE_KAFKA__SASL_PLAIN_PASSWORD": password,
    }
