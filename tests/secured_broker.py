"""A broker with every kind of authentication that the settings know, and an authorizer.

Its listeners, by name: TLS, MTLS (a client's certificate is the user), SCRAM and PLAIN (passwords
over TLS), OAUTH (unsecured tokens over TLS, as RFC 7519 section 6 has them). Kafka's tools come by
the plain listener, as `User:ANONYMOUS`, who may do everything. Certificates are made by the test.
"""

import base64
import json
import time
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization

from local.choose import java
from local.jvm import Kafka
from local.ready import free_ports
from tests.kafka_admin import KafkaAdmin

#: The user of all listeners, and its password at first.
USER, PASSWORD = "poste", "first-secret-7f3a"
_LOGIN = "org.apache.kafka.common.security"

#: Security protocol and mechanism of each listener.
LISTENERS = {
    "TLS": ("SSL", None),
    "MTLS": ("SSL", None),
    "SCRAM": ("SASL_SSL", "SCRAM-SHA-512"),
    "PLAIN": ("SASL_SSL", "PLAIN"),
    "OAUTH": ("SASL_SSL", "OAUTHBEARER"),
}


class SecuredBroker:
    """Made with its certificates; `kafka` starts and stops it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()
        self.cafile = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.cafile))
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        self.kafka = Kafka(directory / "kafka", java=java(), properties=self._properties())
        # The listeners of the product's own kind stand in front of ours.
        plain = f"PLAINTEXT://{self.kafka.bootstrap}"
        ours = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        settings = directory / "kafka" / "server.properties"
        lines = settings.read_text().splitlines()
        controller = next(line for line in lines if line.startswith("listeners="))
        controller = controller[controller.index("CONTROLLER://") :]
        lines += [
            f"listeners={plain},{ours},{controller}",
            f"advertised.listeners={plain},{ours}",
        ]
        settings.write_text("\n".join(lines) + "\n")

    def _properties(self) -> dict[str, str]:
        keystore = self.pem("localhost", name="server")
        found = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT"]
                + [f"{name}:{protocol}" for name, (protocol, _) in LISTENERS.items()]
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.cafile),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "listener.name.mtls.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.scram.scram-sha-512.sasl.jaas.config":
                f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.plain.plain.sasl.jaas.config":
                f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "listener.name.oauth.oauthbearer.sasl.jaas.config":
                f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required"
                ' unsecuredLoginStringClaim_sub="broker";',
            "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class":
                f"{_LOGIN}.oauthbearer.internals.unsecured"
                ".OAuthBearerUnsecuredValidatorCallbackHandler",
        }  # fmt: skip
        for name, (_, mechanism) in LISTENERS.items():
            if mechanism is not None:
                found[f"listener.name.{name.lower()}.sasl.enabled.mechanisms"] = mechanism
        return found

    def start(self) -> None:
        self.kafka.start()
        self.set_password(PASSWORD)

    def set_password(self, password: str) -> None:
        """Give the user of SCRAM a password; connections that are open stay."""
        self.admin.set_scram_password(USER, password)

    @property
    def admin(self) -> KafkaAdmin:
        """One who may do everything."""
        return KafkaAdmin(self.kafka.bootstrap)

    def pem(self, common_name: str, *, name: str | None = None) -> Path:
        """A file with a new key and its certificate. The key is in PKCS 8, which Kafka wants."""
        made = self._authority.issue_cert("127.0.0.1", "localhost", common_name=common_name)
        key = serialization.load_pem_private_key(made.private_key_pem.bytes(), password=None)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip
        for certificate in made.cert_chain_pems:
            text += certificate.bytes()
        path = self.directory / f"{name or common_name}.pem"
        path.write_bytes(text)
        return path

    def environment(self, listener: str) -> dict[str, str]:
        """The settings of a `poste` that comes by a listener as the user."""
        protocol, mechanism = LISTENERS[listener]
        found: dict[str, Any] = {
            "BOOTSTRAP_SERVERS": f"127.0.0.1:{self.ports[listener]}",
            "SECURITY_PROTOCOL": protocol,
            "SSL_CAFILE": self.cafile,
        }
        if mechanism is not None:
            found["SASL_MECHANISM"] = mechanism
        if listener == "MTLS":
            found["SSL_CERTFILE"] = self.pem(USER)
        elif listener == "OAUTH":
            found["SASL_OAUTH_TOKEN_PROVIDER"] = f"{__name__}:token"
        elif mechanism is not None:
            found |= {"SASL_PLAIN_USERNAME": USER, "SASL_PLAIN_PASSWORD": PASSWORD}
        return {f"POSTE_KAFKA__{name}": str(value) for name, value in found.items()}


def token(user: str = USER, seconds: float = 3600) -> str:
    """A token without a signature. It is a minute old: the broker's clock counts whole
    milliseconds, and refuses a token that is newer than its present one."""
    issued_s = time.time() - 60
    parts: list[dict[str, Any]] = [
        {"alg": "none"},
        {"sub": user, "iat": issued_s, "exp": issued_s + 60 + seconds},
    ]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b""]).decode()
