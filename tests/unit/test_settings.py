"""Settings: defaults, origins, refusals, and the documents that show them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operations_page import PAGE
from worker.config_file import load_settings, variable_name
from worker.errors import ConfigurationError
from worker.resume import Beginning, StartSetting
from worker.settings import Settings, parse_time_ms, setting_fields
from worker.settings_reference import markdown_table, sample_toml, shown

SAMPLE = Path(__file__).parents[2] / "config" / "poste.toml"


def refusal(environ: Mapping[str, str], path: Path | None = None) -> str:
    """The one line with which a configuration is refused, with exit status 2."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ)
    line = str(caught.value)
    assert caught.value.exit_status == 2
    assert "\n" not in line
    return line


def written(directory: Path, text: str) -> Path:
    path = directory / "poste.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_ones_that_were_promised() -> None:
    """Without any configuration the limits are those of the contract (G8)."""
    settings = load_settings(None, {})
    kafka = settings.kafka

    names = (kafka.topic, kafka.group, settings.dynamodb.table, kafka.dead_letters_topic)
    assert names == (
        "undelivered-messages", "poste-restante", "mailboxes", "undelivered-messages.dead-letters",
    )  # fmt: skip
    assert [kafka.session_timeout_s, kafka.heartbeat_s, kafka.commit_interval_s] == [10, 1, 5]
    assert [settings.drain_s, settings.leave_s, settings.retention_days] == [20, 15, 30]
    assert [settings.batch.records_max, settings.batch.linger_s] == [5_000, 0.2]
    assert [settings.bundle.messages_max, settings.bundle.bytes_max] == [100, 65_536]
    assert settings.dynamodb.calls_in_flight_max == 16
    assert [kafka.partitions_max, settings.dead_letters_consecutive_max] == [256, 1_000]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """Key by key: what the environment does not name stays as the file has it."""
    path = written(tmp_path, 'drain_s = 7\n[kafka]\ntopic = "a"\ngroup = "b"\n')
    settings = load_settings(path, {"POSTE_KAFKA__TOPIC": "c", "POSTE_HTTP__PORT": "0"})

    assert (settings.kafka.topic, settings.kafka.group) == ("c", "b")
    assert (settings.drain_s, settings.http.port) == (7, 0)
    assert settings.kafka.dead_letters_topic == "c.dead-letters"


def test_poste_config_names_the_file_and_the_option_wins(tmp_path: Path) -> None:
    """The variable is for where no option can be given."""
    path = written(tmp_path, "drain_s = 7\n")
    other = tmp_path / "other.toml"
    other.write_text("drain_s = 8\n")
    environ = {"POSTE_CONFIG": str(path)}

    assert load_settings(None, environ).drain_s == 7
    assert load_settings(other, environ).drain_s == 8


def test_topics_that_the_broker_takes_for_one_are_refused() -> None:
    """It makes no topic whose name differs from another one's in `.` and `_` alone."""
    line = refusal({"POSTE_KAFKA__TOPIC": "a.b", "POSTE_KAFKA__DEAD_LETTERS_TOPIC": "a_b"})
    assert "more than `.` and `_`" in line


def test_an_instance_id_has_the_hosts_name_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shown as it was written, since the file is one for many hosts; without one: dynamic."""
    monkeypatch.setattr("socket.gethostname", lambda: "poste-7")
    kafka = load_settings(None, {"POSTE_KAFKA__GROUP_INSTANCE_ID": "eu.{hostname}"}).kafka

    assert (kafka.group_instance_id, kafka.instance_id) == ("eu.{hostname}", "eu.poste-7")
    assert load_settings(None, {}).kafka.instance_id == ""


@pytest.mark.parametrize("name", [name for name, _ in setting_fields()])
def test_every_setting_can_be_set_by_its_variable(name: str) -> None:
    """No setting is out of the environment's reach."""
    field = dict(setting_fields())[name]
    default = field.get_default()
    text = json.dumps(list(default)) if isinstance(default, tuple) else str(default or "")
    given = {variable_name(name): text} if text else {}

    assert load_settings(None, given) == load_settings(None, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafka]\ntopik = "x"\n', "did you mean 'kafka.topic'?"),
        ("[kafak]\n", "did you mean 'kafka'?"),
        ("drains_s = 1\n", "did you mean 'drain_s'?"),
        ("[bundle]\nzzz = 1\n", "see `poste config show`"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A misspelt key is no silent default: the nearest one is named."""
    line = refusal({}, written(tmp_path, text))

    assert line.startswith("unknown key")
    assert said in line
    assert str(tmp_path) in line


@pytest.mark.parametrize("variable", ["POSTE_KAFKA__TOPIK", "POSTE_KAFKA", "poste_kafka_topic"])
def test_an_unknown_variable_is_refused(variable: str) -> None:
    """So is a misspelt variable."""
    line = refusal({variable: "x"})

    assert line.startswith(f"unknown variable {variable}")
    assert "did you mean 'POSTE_KAFKA__TOPIC'" in line


def test_other_programs_variables_are_none_of_ours() -> None:
    """Only the prefix is."""
    assert load_settings(None, {"POSTEL": "x", "KAFKA__TOPIC": "x"}) == load_settings(None, {})


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", "kafka", "host:port"),
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", "a:1,,b:2", "host:port"),
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", "a:99999", "a:99999 has no port from 1 to 65535"),
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", "a:0", "has no port from 1"),
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", "a..b:9092", "host:port"),
        ("POSTE_KAFKA__BOOTSTRAP_SERVERS", f"{'a' * 64}:9092", "host:port"),
        ("POSTE_KAFKA__SSL_CAFILE", "", "is empty"),
        ("POSTE_KAFKA__SSL_CERTFILE", "", "is empty"),
        ("POSTE_KAFKA__SASL_PLAIN_USERNAME", "", "at least 1"),
        ("POSTE_KAFKA__GROUP", "\udcff", "unicode"),
        ("POSTE_KAFKA__START", "9999-12-31T23:59:59-23:59", "after the year 9999"),
        ("POSTE_BATCH__RECORDS_MAX", "9" * 5_000, "exceeded maximum size"),
        ("POSTE_RECEIPT_KEYS", "[" * 5_000, "JSON list"),
        ("POSTE_KAFKA__TOPIC", "no spaces", "not a valid topic name"),
        ("POSTE_KAFKA__GROUP_INSTANCE_ID", "no spaces", "not a valid instance id"),
        ("POSTE_KAFKA__GROUP_INSTANCE_ID", "{pod}", "not a valid instance id"),
        ("POSTE_KAFKA__GROUP_INSTANCE_ID", "..", "not a valid instance id"),
        ("POSTE_KAFKA__GROUP_INSTANCE_ID", "x" * 250, "not a valid instance id"),
        ("POSTE_KAFKA__GROUP_INSTANCE_ID", "x" * 249 + "{hostname}", "not a valid instance id"),
        ("POSTE_KAFKA__DEAD_LETTERS_TOPIC", "undelivered-messages", "another topic"),
        ("POSTE_KAFKA__TOPIC", "__consumer_offsets", "an internal topic"),
        ("POSTE_KAFKA__DEAD_LETTERS_TOPIC", "__transaction_state", "an internal topic"),
        ("POSTE_KAFKA__DEAD_LETTERS_TOPIC", "x" * 250, "not a valid topic name"),
        ("POSTE_KAFKA__TOPIC", "x" * 249, "not a valid topic name"),  # of its dead letters
        ("POSTE_KAFKA__GROUP", "g" * 32_768, "at most 32767 bytes"),
        ("POSTE_KAFKA__CLIENT_ID", "ä" * 20_000, "at most 32767 bytes"),
        ("POSTE_HTTP__HOST", "[::1]:6066", "without a port"),
        ("POSTE_KAFKA__START", "yesterday", "must be earliest"),
        ("POSTE_KAFKA__START", "2026-01-31T00:00:00", "has no zone"),
        ("POSTE_KAFKA__HEARTBEAT_S", "5", "at most a third"),
        ("POSTE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL", "needs sasl_plain_username"),
        ("POSTE_KAFKA__SSL_KEYFILE", "key.pem", "needs ssl_certfile"),
        ("POSTE_DYNAMODB__TABLE", "x", "dynamodb.table"),
        ("POSTE_BUNDLE__BYTES_MAX", "400001", "less than or equal to 400000"),
        ("POSTE_DRAIN_S", "nan", "finite"),
        ("POSTE_STALLED_S", "10", "must be above 10 s: kafka.commit_interval_s, batch.linger_s"),
        ("POSTE_BATCH__LINGER_S", "120", "stalled_s must be above 120 s"),
        ("POSTE_KAFKA__COMMIT_INTERVAL_S", "120", "stalled_s must be above 120 s"),
        ("POSTE_KAFKA__SESSION_TIMEOUT_S", "inf", "finite"),
        ("POSTE_BATCH__RECORDS_MAX", "0", "greater than or equal to 1"),
        ("POSTE_HTTP__PORT", "x", "valid integer"),
        ("POSTE_RECEIPT_KEYS", "secret", "JSON list"),
        ("POSTE_RECEIPT_KEYS", '[""]', "at least 1"),
        ("POSTE_LOG_LEVEL", "LOUD", "'DEBUG'"),
    ],
)
def test_a_value_that_cannot_be_is_refused(variable: str, value: str, said: str) -> None:
    """One line names the setting; limits have limits themselves (G8)."""
    assert said in refusal({variable: value})


def test_a_refusal_says_where_the_value_stands(tmp_path: Path) -> None:
    """The variable, or the file."""
    path = written(tmp_path, '[kafka]\nstart = "never"\n')

    assert f"({path})" in refusal({}, path)
    assert "(POSTE_KAFKA__START)" in refusal({"POSTE_KAFKA__START": "soon"}, path)


@pytest.mark.parametrize(
    "content",
    [b"kafka: x", b"\xff\xfe", b"[kafka", b"x = " + b"9" * 5_000, b"x = " + b"[" * 5_000],
    ids=["yaml", "binary", "open", "a long number", "deep"],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """In one line, as all are."""
    path = tmp_path / "poste.toml"
    path.write_bytes(content)

    assert "is not TOML" in refusal({}, path)
    assert "cannot read" in refusal({}, tmp_path)


@given(st.dictionaries(st.sampled_from([n for n, _ in setting_fields()]), st.text(), max_size=3))
def test_whatever_stands_in_a_variable_is_taken_or_refused_in_one_line(
    values: dict[str, str],
) -> None:
    """Never another exception."""
    said = ""
    try:
        load_settings(None, {variable_name(name): value for name, value in values.items()})
    except ConfigurationError as error:
        said = str(error)

    assert "\n" not in said


def test_secrets_are_never_shown() -> None:
    """Not by `config show`, not by a repr in a log, not by a refusal."""
    secrets = {
        "POSTE_KAFKA__SASL_PLAIN_PASSWORD": "hush-1",
        "POSTE_KAFKA__SSL_PASSWORD": "hush-2",
        "POSTE_RECEIPT_KEYS": '["hush-3"]',
    }
    settings = load_settings(None, secrets)
    broken = refusal({**secrets, "POSTE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"})

    assert "hush" not in json.dumps(shown(settings)) + repr(settings) + broken
    assert settings.receipt_keys[0].get_secret_value() == "hush-3"


def test_a_start_is_understood() -> None:
    """The three words, and a time with its zone in milliseconds."""
    starts = ["earliest", "latest", "group", "1970-01-01T01:00:01+01:00"]
    found = [load_settings(None, {"POSTE_KAFKA__START": start}).kafka.beginning for start in starts]

    assert found[:3] == [
        StartSetting(b) for b in (Beginning.EARLIEST, Beginning.LATEST, Beginning.GROUP)
    ]
    assert found[3] == StartSetting.at(1_000)


@pytest.mark.parametrize("text", ["", "12", "1969-12-31T00:00:00Z", "2026-13-01T00:00:00Z", "now",
                                  "9999-12-31T23:59:59-23:59"])  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """It is never guessed at."""
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_time_ms(text)


def test_servers_may_stand_apart() -> None:
    """Blanks around commas are no part of a host's name."""
    found = load_settings(None, {"POSTE_KAFKA__BOOTSTRAP_SERVERS": " a:1 , [::1]:2"})

    assert found.kafka.bootstrap_servers == "a:1,[::1]:2"


def test_the_documents_show_the_settings_as_they_are() -> None:
    """Run `python -m worker.settings_reference`, and for the file `--toml`, when this fails."""
    assert markdown_table() in PAGE.read_text()
    assert sample_toml() == SAMPLE.read_text()


def test_every_setting_says_what_it_is() -> None:
    """Seconds, bytes and days stand in the name; a number has a limit at both ends or a reason."""
    for name, field in setting_fields():
        assert field.description, name


def test_the_sample_file_is_valid_and_complete() -> None:
    """As it is, and with every default taken out of its comment: nothing in it is dead."""
    text = SAMPLE.read_text()
    uncommented = re.sub(r"(?m)^# (?=[a-z_]+ = )(?!.*\"\.\.\.\")", "", text)

    assert load_settings(SAMPLE, {}) == Settings()
    assert uncommented.count("\nlinger_s = 0.2") == 1
    keys = re.findall(r"(?m)^(?:# )?([a-z_]+) = ", text)
    assert keys == [name.rpartition(".")[2] for name, _ in setting_fields()]


def test_the_sample_file_is_valid_without_its_comments(tmp_path: Path) -> None:
    """What an operator uncomments is what was in force before."""
    text = re.sub(r"(?m)^# (?=[a-z_]+ = )(?!.*\"\.\.\.\")", "", SAMPLE.read_text())

    assert load_settings(written(tmp_path, text), {}) == Settings()
