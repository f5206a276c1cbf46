"""The settings: a TOML file, overridden by the environment. Unknown keys are refused.

    poste --config poste.toml ...       or POSTE_CONFIG=poste.toml
    POSTE_KAFKA__BOOTSTRAP_SERVERS=...  overrides `bootstrap_servers` of the section [kafka]

AWS endpoint, region and credentials are not here: they are the AWS SDK's own variables and files.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from poste_restante.item import ITEM_BYTES_MAX
from worker.errors import ConfigurationError
from worker.resume import Beginning, Start

ENV_PREFIX = "POSTE_"
ENV_DELIMITER = "__"
#: The variable that names the file; the only one with the prefix that is no setting.
CONFIG_VARIABLE = "POSTE_CONFIG"


class Section(BaseModel):
    """Keys that are not listed are refused, so that a misspelt one does not go unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(Section):
    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="`host:port`, several separated by commas"
    )
    topic: str = Field(
        "undelivered-messages", min_length=1, description="the topic that is materialized"
    )
    group: str = Field("poste-restante", min_length=1, description="the worker's consumer group")
    dead_letters: str | None = Field(
        None, description="the dead-letter topic; default: `<topic>.dead-letters`"
    )
    start: str = Field(
        "earliest",
        description="where a partition without progress begins: `earliest`, `latest`, `group`"
        " (take over from an existing consumer) or a time such as `2026-01-31T00:00:00Z`",
    )
    partitions_max: int = Field(
        256, ge=1, description="partitions per worker; what is above is left unread"
    )
    session_timeout_s: float = Field(
        10.0, gt=0, description="seconds without a heartbeat until a worker's partitions move on"
    )
    heartbeat_s: float = Field(1.0, gt=0, description="seconds between two heartbeats")
    commit_interval_s: float = Field(
        5.0, gt=0, description="seconds between two commits: what a crash replays at most"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as Kafka names it"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="as Kafka names it"
    )
    sasl_plain_username: str | None = Field(None, description="for all three mechanisms")
    sasl_plain_password: SecretStr | None = Field(None, description="for all three mechanisms")
    ssl_cafile: Path | None = Field(None, description="PEM file; default: the system's")
    ssl_certfile: Path | None = Field(None, description="PEM file of the client's certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file of the client's key")
    ssl_password: SecretStr | None = Field(None, description="of the client's key")
    ssl_check_hostname: bool = Field(True, description="whether the broker's name must match")

    @property
    def dead_letters_topic(self) -> str:
        return self.dead_letters or f"{self.topic}.dead-letters"

    @property
    def beginning(self) -> Start:
        return parse_start(self.start)

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
        if self.security_protocol.startswith("SASL") and (
            self.sasl_plain_username is None or self.sasl_plain_password is None
        ):
            raise ValueError(
                f"{self.security_protocol} needs sasl_plain_username and sasl_plain_password"
            )
        if self.dead_letters_topic == self.topic:
            raise ValueError("the dead-letter topic must be another one than the topic")
        return self


class DynamoDBSettings(Section):
    table: str = Field("mailboxes", min_length=3, description="one table per topic")
    calls_in_flight_max: int = Field(16, ge=1, le=256, description="write calls per worker")
    timeout_s: float = Field(
        5.0, gt=0, description="seconds to connect, and seconds to wait for an answer"
    )


class BatchSettings(Section):
    records_max: int = Field(5_000, ge=1, description="records of one flush")
    bytes_max: int = Field(
        4 * 1024 * 1024, ge=1, description="bytes of one flush; one larger record goes alone"
    )
    linger_s: float = Field(
        0.0, ge=0, le=300,
        description="seconds between two fetches of a partition that has been read to its end:"
        " merges bursts and saves writes; Kafka is the buffer",
    )  # fmt: skip


class BundleSettings(Section):
    messages_max: int = Field(
        100, ge=1, description="messages of one bundle; 1 gives one item per message"
    )
    bytes_max: int = Field(
        64 * 1024, ge=1, le=ITEM_BYTES_MAX,
        description="bytes of one bundle; one larger message goes alone",
    )  # fmt: skip


class HttpSettings(Section):
    host: str = Field("127.0.0.1", description="where `/healthz` and `/readyz` are served")
    port: int = Field(6066, ge=0, le=65535, description="0: no HTTP server")


class _PosteEnvironment(EnvSettingsSource):
    """The environment that was handed in, not the process's own."""

    def __init__(self, settings: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = {name.lower(): value for name, value in environ.items()}
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


class Settings(BaseSettings):
    """All settings, validated. Made by `load_settings`."""

    model_config = {
        "extra": "forbid",
        "frozen": True,
        "env_prefix": ENV_PREFIX,
        "env_nested_delimiter": ENV_DELIMITER,
        "hide_input_in_errors": True,
    }

    retention_days: float = Field(
        30.0, gt=0, le=3650, description="days from a record's timestamp to its expiry"
    )
    dead_letters_consecutive_max: int = Field(
        1_000, ge=1, description="dead letters in a row, in one partition, that stop the worker"
    )
    drain_s: float = Field(
        20.0, ge=0, le=600, description="seconds that started flushes get on SIGTERM and revoke"
    )
    leave_s: float = Field(
        15.0, gt=0, le=600, description="seconds after the drain limit until the process is gone"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="of the worker's log, on standard error"
    )
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line")
    receipt_keys: tuple[SecretStr, ...] = Field(
        (), description="keys of receipts for `poste fetch` and `ack`: the first signs, all verify"
    )
    kafka: KafkaSettings = KafkaSettings()
    batch: BatchSettings = BatchSettings()
    bundle: BundleSettings = BundleSettings()
    dynamodb: DynamoDBSettings = DynamoDBSettings()
    http: HttpSettings = HttpSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load_settings merges the environment itself


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of a file (or of the one that POSTE_CONFIG names) and an environment.

    Raises ConfigurationError, in one line that names the key and what to do.
    """
    named = environ.get(CONFIG_VARIABLE)
    if path is None and named:
        path = Path(named)
    values = {} if path is None else _read(path)
    _refuse_unknown_variables(environ)
    given = _PosteEnvironment(Settings, environ)()
    given.pop("config", None)
    try:
        return Settings(**_merged(values, given))
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, path)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _one_line(error: ValidationError, path: Path | None) -> str:
    """The first complaint, with the key as the file spells it."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"])) or "configuration"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest(key, setting_names())}{_where(path)}{more}"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}{_where(path)}{more}"


def _where(path: Path | None) -> str:
    return "" if path is None else f" ({path}, or the environment)"


def _nearest(name: str, known: Iterator[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "; see `poste config show`"


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {variable_name(name) for name in setting_names()} | {CONFIG_VARIABLE}
    for variable in sorted(environ):
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known:
            near = _nearest(variable.upper(), iter(known))
            raise ConfigurationError(f"unknown variable {variable} in the environment{near}")


def setting_names() -> Iterator[str]:
    """Every setting, as `section.key`."""
    for name, _ in setting_fields():
        yield name


def setting_fields() -> Iterator[tuple[str, Any]]:
    """Every setting with its pydantic field: `section.key` first, in the order of the file."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


def variable_name(setting: str) -> str:
    """The environment variable of a setting: `kafka.topic` is POSTE_KAFKA__TOPIC."""
    return ENV_PREFIX + setting.replace(".", ENV_DELIMITER).upper()


def parse_start(text: str) -> Start:
    """`kafka.start`. Raises ValueError, saying what is allowed."""
    if text in {Beginning.EARLIEST, Beginning.LATEST, Beginning.GROUP}:
        return Start(Beginning(text))
    return Start.at(parse_time_ms(text))


def parse_time_ms(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 time with its zone. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is none of earliest, latest, group, nor a time such as 2026-01-31T00:00:00Z"
        ) from None
    if time.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone: write 2026-01-31T00:00:00Z for UTC")
    return int(time.astimezone(UTC).timestamp() * 1000)


def shown(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain values, secrets hidden, for `config show`."""
    dumped: dict[str, Any] = settings.model_dump(mode="json")
    return dumped


def markdown_table() -> str:
    """The table of settings in docs/operations.md, which a test holds to this."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for name, field in setting_fields():
        default = field.get_default()
        text = "" if default in (None, ()) else f"`{default}`"
        lines.append(f"| `{name}` | {text} | {field.description}{_choices(field)} |")
    return "\n".join(lines)


def _choices(field: Any) -> str:
    choices = [c for c in get_args(field.annotation) if isinstance(c, str)]
    return f": {', '.join(f'`{choice}`' for choice in choices)}" if choices else ""
