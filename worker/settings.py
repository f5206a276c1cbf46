"""The settings: sections, defaults, limits. `config_file.load_settings` loads them.

AWS endpoint, region and credentials come from the AWS SDK's own variables and files.
"""

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from poste_restante.item import ITEM_BYTES_MAX
from worker.resume import Beginning, StartSetting

#: The environment variable of a setting: `kafka.topic` is POSTE_KAFKA__TOPIC.
ENV_PREFIX, ENV_DELIMITER = "POSTE_", "__"
#: Suffix of the topic's name that makes the name of the dead-letter topic.
DEAD_LETTERS_SUFFIX = ".dead-letters"
#: Stands for the host's name in `kafka.group_instance_id`.
HOSTNAME = "{hostname}"
#: Kafka's rule for a topic's name (org.apache.kafka.common.internals.Topic), and for a group
#: instance id (org.apache.kafka.clients.consumer.internals.ConsumerUtils).
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
#: The broker's internal topics, to which it refuses records (the same class and Topic.isInternal).
_INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state",
                              "__cluster_metadata"})  # fmt: skip
#: Bytes of a string in Kafka's protocol (its STRING has a length of 16 bits).
_PROTOCOL_BYTES_MAX = 32_767
#: `host:port`; the host may be an IPv6 address in brackets.
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
#: A name's parts between dots (RFC 1035); a longer or an empty one cannot be resolved.
_LABEL_MAX, _NAME_MAX = 63, 253
_PORT_MAX = 65535
#: A host's name, or an address of IPv4.
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
#: CreateTable's constraint on a name, or an ARN of a table (API reference).
_TABLE_NAME = r"^([A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1020})$"

#: A callable in a module: `package.module:name`.
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
#: Not empty: an empty variable was meant to be filled.
Secret = Annotated[SecretStr, Field(min_length=1)]


def secret_file(value: Any) -> Any:
    """Check the path of a file with a secret. Raises ValueError for an empty one."""
    if value == "":
        raise ValueError("is empty: name a file, or leave it out")
    return value


class Section(BaseModel):
    """Refuses unknown keys, so that a misspelt one is noticed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class KafkaSettings(Section):
    bootstrap_servers: str = Field(
        "127.0.0.1:9092", description="Initial brokers, as `host:port`, separated by commas"
    )
    topic: str = Field("undelivered-messages", description="Topic to materialize")
    dead_letters_topic: str = Field(
        "", description="Topic for dead letters; empty: the topic's name and `.dead-letters`"
    )
    group: str = Field("poste-restante", min_length=1, description="Consumer group of the workers")
    group_instance_id: str = Field(
        "",
        description="Id of this worker in the group, for static membership; `{hostname}` stands for"
        " the host's name; empty: dynamic membership",
    )
    client_id: str = Field(
        "poste-restante", min_length=1, description="Client id in the broker's logs and quotas"
    )
    client_rack: str = Field(
        "",
        description="Rack or availability zone of this worker: it fetches from a replica there"
        " where the brokers allow it (KIP-392); empty: from the leaders",
    )
    start: str = Field(
        "earliest",
        description="Where a partition without progress begins, once: `earliest`, `latest`,"
        " `group` (take over from an existing consumer) or a time such as `2026-01-31T00:00:00Z`",
    )
    partitions_max: int = Field(
        256, ge=1, le=10_000,
        description="Partitions per worker, which bounds its memory; surplus ones are not read",
    )  # fmt: skip
    session_timeout_s: float = Field(
        10.0, gt=0, le=1800,
        description="Seconds without a heartbeat until a worker's partitions move; brokers accept"
        " 6 to 1800",
    )  # fmt: skip
    heartbeat_s: float = Field(
        1.0, gt=0, description="Seconds between heartbeats; at most a third of the above"
    )
    commit_interval_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds between commits, which bounds what a crash replays"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka's security protocol"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="SASL mechanism"
    )
    sasl_plain_username: str | None = Field(
        None, min_length=1, description="SASL user name, for every mechanism but OAUTHBEARER"
    )
    sasl_plain_password: Secret | None = Field(
        None, description="SASL password, for every mechanism but OAUTHBEARER"
    )
    sasl_plain_password_file: Path | None = Field(
        None,
        description="File with the SASL password, read again for every connection, so that it can"
        " be rotated",
    )
    sasl_oauth_token_provider: str = Field(
        "",
        description="Callable that returns a token for OAUTHBEARER, as `module:name`;"
        " `worker.kafka.msk_iam:token` is that of AWS MSK IAM",
    )
    ssl_cafile: Path | None = Field(
        None,
        description="PEM file of the CAs that sign brokers' certificates; default: the system's",
    )
    ssl_certfile: Path | None = Field(
        None,
        description="PEM file of the client's certificate; all PEM files are read again for a new"
        " connection when they have changed",
    )
    ssl_keyfile: Path | None = Field(None, description="PEM file of the client's private key")
    ssl_password: Secret | None = Field(None, description="Password of the client's private key")
    ssl_password_file: Path | None = Field(
        None, description="File with the password of the client's private key"
    )
    ssl_check_hostname: bool = Field(
        True, description="Whether the certificate must have the broker's host name"
    )

    @property
    def beginning(self) -> StartSetting:
        return parse_start(self.start)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("dead_letters_topic"):
            topic = values.get("topic", cls.model_fields["topic"].default)
            return {**values, "dead_letters_topic": f"{topic}{DEAD_LETTERS_SUFFIX}"}
        return values

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",")]
        for server in servers:
            found = _SERVER.fullmatch(server)
            if found is None or not _is_host(found[1]):
                raise ValueError("must be host:port, several separated by commas")
            if not 1 <= int(found[2]) <= _PORT_MAX:
                raise ValueError(f"{server} has no port from 1 to {_PORT_MAX}")
        return ",".join(servers)

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile", mode="before")
    @classmethod
    def _pem_file(cls, value: Any) -> Any:
        if value == "":  # a variable that was meant to be filled; Path("") is this folder
            raise ValueError("is empty: name a PEM file, or leave it out")
        return value

    @field_validator("sasl_plain_password_file", "ssl_password_file", mode="before")
    @classmethod
    def _secret_file(cls, value: Any) -> Any:
        return secret_file(value)

    @field_validator("sasl_oauth_token_provider")
    @classmethod
    def _provider(cls, value: str) -> str:
        if value and not _CALLABLE.fullmatch(value):
            raise ValueError("must be module:name, such as worker.kafka.msk_iam:token")
        return value

    @field_validator("topic", "dead_letters_topic")
    @classmethod
    def _topic(cls, value: str) -> str:
        if not _TOPIC_NAME.fullmatch(value) or value in {".", ".."}:
            raise ValueError(
                "is not a valid topic name: use 1 to 249 letters, digits, `.`, `_`, `-`"
            )
        if value in _INTERNAL_TOPICS:
            raise ValueError("is an internal topic of the broker, which accepts no other records")
        return value

    def _require_credentials(self) -> None:
        """Raise ValueError if the mechanism lacks what it authenticates with."""
        passwords = (self.sasl_plain_password, self.sasl_plain_password_file)
        if self.sasl_mechanism == "OAUTHBEARER":
            if not self.sasl_oauth_token_provider:
                raise ValueError("OAUTHBEARER needs sasl_oauth_token_provider")
        elif self.sasl_plain_username is None or passwords == (None, None):
            raise ValueError(
                f"{self.security_protocol} needs sasl_plain_username and sasl_plain_password"
            )

    @field_validator("group", "client_id", "client_rack")
    @classmethod
    def _protocol_string(cls, value: str) -> str:
        if len(value.encode(errors="surrogatepass")) > _PROTOCOL_BYTES_MAX:
            raise ValueError(f"must be at most {_PROTOCOL_BYTES_MAX} bytes of UTF-8")
        return value

    @field_validator("group_instance_id")
    @classmethod
    def _group_instance_id(cls, value: str) -> str:
        named = value.replace(HOSTNAME, socket.gethostname())
        if value and (not _TOPIC_NAME.fullmatch(named) or named in {".", ".."}):
            raise ValueError(
                f"is not a valid instance id: {named!r} must be 1 to 249 letters, digits, `.`, `_`,"
                " `-`"
            )
        return value

    @property
    def instance_id(self) -> str:
        """`group_instance_id` of this worker, with the host's name filled in."""
        return self.group_instance_id.replace(HOSTNAME, socket.gethostname())

    @field_validator("start")
    @classmethod
    def _start(cls, value: str) -> str:
        parse_start(value)
        return value

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise ValueError(
                "heartbeat_s must be at most a third of session_timeout_s, or one lost"
                " heartbeat moves the partitions"
            )
        for secret in ("sasl_plain_password", "ssl_password"):
            if None not in (getattr(self, secret), getattr(self, f"{secret}_file")):
                raise ValueError(f"set {secret} or {secret}_file, not both")
        if self.security_protocol.startswith("SASL"):
            self._require_credentials()
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile, the certificate of that key")
        if self.dead_letters_topic == self.topic:
            raise ValueError("dead_letters_topic must be another topic than topic")
        if self.dead_letters_topic.replace(".", "_") == self.topic.replace(".", "_"):
            raise ValueError(
                "dead_letters_topic must differ from topic in more than `.` and `_`: the broker"
                " treats such names as equal, and creates only the first"
            )
        return self


def _is_host(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    is_name = len(name) <= _NAME_MAX and all(1 <= len(label) <= _LABEL_MAX for label in labels)
    return is_name or name.startswith("[")


class BatchSettings(Section):
    records_max: int = Field(5_000, ge=1, le=1_000_000, description="Records per flush")
    bytes_max: int = Field(
        4 * 1024 * 1024, ge=1, le=256 * 1024 * 1024,
        description="Bytes per flush, which bounds memory; a larger record is flushed alone",
    )  # fmt: skip
    linger_s: float = Field(
        0.2, ge=0, le=300,
        description="Seconds between fetches of partitions that were read to their end: messages"
        " collect in Kafka, which saves writes and processor time; 0: no wait",
    )  # fmt: skip


class BundleSettings(Section):
    messages_max: int = Field(
        100, ge=1, le=10_000, description="Messages per item; 1: one item per message"
    )
    bytes_max: int = Field(
        64 * 1024, ge=1, le=ITEM_BYTES_MAX,
        description="Bytes per item, of DynamoDB's 400 KB; a larger message is stored alone",
    )  # fmt: skip


class DynamoDBSettings(Section):
    table: str = Field(
        "mailboxes", pattern=_TABLE_NAME, description="DynamoDB table; one per topic"
    )
    calls_in_flight_max: int = Field(
        16, ge=1, le=256, description="Concurrent calls per worker, which bounds memory and bursts"
    )
    timeout_s: float = Field(
        5.0, gt=0, le=300, description="Seconds to connect, and seconds to wait for an answer"
    )
    write_units_per_s_max: float = Field(
        0.0, ge=0, le=1e9,
        description="Write units per second that one worker spends on mailboxes, so that catching"
        " up leaves room for acknowledgements; 0: no limit",
    )  # fmt: skip


def _host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError(text)
    return text


class HttpSettings(Section):
    host: str = Field(
        "127.0.0.1", min_length=1,
        description="Address of `/healthz` and `/readyz`; `::`: all addresses, IPv4 and IPv6",
    )  # fmt: skip
    port: int = Field(
        6066, ge=0, le=65535, description="Port of `/healthz` and `/readyz`; 0: no HTTP server"
    )

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        """Remove the brackets of an IPv6 address."""
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        try:
            return str(ip_address(bare)) if ":" in bare or bare is not value else _host_name(bare)
        except ValueError:
            raise ValueError(
                "must be a host name or an address, such as 127.0.0.1 or ::, without a port"
            ) from None


class Settings(BaseSettings):
    """All settings, validated."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False,
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER,
    )  # fmt: skip

    retention_days: float = Field(
        30.0, gt=0, le=3650, description="Days from a record's timestamp until its message expires"
    )
    dead_letters_consecutive_max: int = Field(
        1_000, ge=1,
        description="Dead letters in a row, in one partition, above which the worker stops, so that"
        " a bad deploy does not drain the topic",
    )  # fmt: skip
    drain_s: float = Field(
        20.0, ge=0, le=600, description="Seconds that started flushes get on SIGTERM and revoke"
    )
    leave_s: float = Field(
        15.0, gt=0, le=600, description="Seconds after the drain limit until the process exits"
    )
    stalled_s: float = Field(
        120.0, gt=0, le=86_400,
        description="Seconds without progress, with work to do and services that answer, until a"
        " worker considers itself stalled and exits",
    )  # fmt: skip
    unready_after_s: float = Field(
        15.0, gt=0, le=86_400,
        description="Seconds without an answer from Kafka or DynamoDB until `/readyz` answers 503",
    )  # fmt: skip
    freshness_s: float = Field(
        1.0, ge=0, le=60,
        description="Seconds between two claims of freshness, from which readers prove that nothing"
        " is on its way: each is one write of 1 KB for some 40 partitions; 0: no claims",
    )  # fmt: skip
    transaction_warn_s: float = Field(
        60.0, gt=0, le=86_400,
        description="Seconds that an open transaction may hold back a partition until the worker"
        " logs how to abort it",
    )  # fmt: skip
    memory_mb: int = Field(
        0, ge=0, le=1024 * 1024,
        description="Memory limit of a worker in MiB, at least 128, from which follows how much it"
        " fetches, queues and writes at a time; 0: the cgroup's limit, or 512 without one",
    )  # fmt: skip
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Level of the worker's log on standard error"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the worker's log; json: one object per line"
    )
    tracing: bool = Field(
        False,
        description="Whether each flush is an OpenTelemetry span, linked to the `traceparent`"
        " headers of its records; needs the extra `opentelemetry` and an SDK in the environment",
    )
    receipt_keys: tuple[Secret, ...] = Field(
        (),
        description="Receipt keys of the gateway, for `poste fetch` and `poste ack`: the first"
        " signs, all verify; in the environment a JSON list",
    )
    receipt_keys_file: Path | None = Field(
        None, description="File with the receipt keys, one per line, in place of `receipt_keys`"
    )
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    batch: BatchSettings = BatchSettings()
    bundle: BundleSettings = BundleSettings()
    dynamodb: DynamoDBSettings = DynamoDBSettings()
    http: HttpSettings = HttpSettings()

    @field_validator("receipt_keys_file", mode="before")
    @classmethod
    def _secret_file(cls, value: Any) -> Any:
        return secret_file(value)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.receipt_keys and self.receipt_keys_file is not None:
            raise ValueError("set receipt_keys or receipt_keys_file, not both")
        longest_s = max(
            self.kafka.commit_interval_s, self.batch.linger_s, 2 * self.dynamodb.timeout_s
        )
        if self.stalled_s <= longest_s:
            raise ValueError(
                f"stalled_s must be above {longest_s:g} s: kafka.commit_interval_s, batch.linger_s"
                " and twice dynamodb.timeout_s must fit into it"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only what the caller passes: `config_file` reads file and environment."""
        return (init_settings,)


def setting_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting, as `section.key` or `key`, with its field, in the order of the file."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


def parse_start(text: str) -> StartSetting:
    """Parse `kafka.start`. Raises ValueError, saying what is allowed."""
    if text in {Beginning.EARLIEST, Beginning.LATEST, Beginning.GROUP}:
        return StartSetting(Beginning(text))
    try:
        return StartSetting.at(parse_time_ms(text))
    except ValueError as error:
        raise ValueError(f"must be earliest, latest, group or a time: {error}") from None


def parse_time_ms(text: str) -> int:
    """Return the epoch milliseconds of an RFC 3339 time with its zone. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as 2026-01-31T00:00:00Z") from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no zone: write 2026-01-31T00:00:00Z for UTC")
    try:
        milliseconds = int(time.astimezone(UTC).timestamp() * 1000)
    except OverflowError:
        raise ValueError(f"{text!r} is after the year 9999") from None
    if milliseconds < 0:
        raise ValueError(f"{text!r} is before 1970")
    return milliseconds
