"""The first line of a worker's log tells it from others."""

from importlib.metadata import version

import pytest

from worker.config_file import load_settings
from worker.start_line import log_start


def test_the_start_names_what_runs_on_what_within_which_limits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Version, topic, group, brokers, table and limits; no password."""
    caplog.set_level("INFO")
    given = {
        "POSTE_KAFKA__TOPIC": "mail", "POSTE_KAFKA__GROUP": "carriers",
        "POSTE_KAFKA__BOOTSTRAP_SERVERS": "a:1,b:2", "POSTE_DYNAMODB__TABLE": "boxes",
        "POSTE_KAFKA__PARTITIONS_MAX": "12", "POSTE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "POSTE_KAFKA__SASL_PLAIN_USERNAME": "me", "POSTE_KAFKA__SASL_PLAIN_PASSWORD": "secret",
    }  # fmt: skip
    log_start(load_settings(None, given))

    (line,) = caplog.records
    assert line.levelname == "INFO"
    for shown in (
        version("poste-restante-worker"),
        "mail",
        "carriers",
        "a:1,b:2",
        "boxes",
        "12 part",
    ):
        assert shown in line.getMessage()
    assert vars(line)["event"] == "worker_started"
    assert "secret" not in str(vars(line))
