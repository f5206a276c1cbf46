"""Traps of Faust and aiokafka that need no broker to be set, and the page that lists all."""

import ast
import re

import mode
import pytest
from faust.types.settings import Settings as FaustSettings

from tests.pages import ROOT, page, table
from tests.unit.test_consumer import Stage
from tests.unit.test_opening import progress
from worker.app import MailboxApp, create_app
from worker.config_file import load_settings

TRAPPED_WORKER = ROOT / "tests" / "integration" / "trapped_worker.py"


# ---- settings


def _app() -> MailboxApp:
    return create_app(load_settings(None, {}))


def _effective(app: MailboxApp) -> dict[str, str]:
    current = {name for name, each in FaustSettings.SETTINGS.items() if not each.deprecated}
    return {name: repr(getattr(app.conf, name)) for name in current - {"reply_to"}}  # random


def test_no_variable_of_the_environment_reaches_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust lets a variable override what its app was made with: STREAM_WAIT_EMPTY=0 alone would
    take the drain away. APP_ENV_PREFIX overrides even the prefix of their names (G1)."""
    wanted = _effective(_app())
    for setting in FaustSettings.SETTINGS.values():
        if setting.env_name:
            monkeypatch.setenv(setting.env_name, "0")

    assert _effective(_app()) == wanted


async def test_faust_is_set_so_that_none_of_its_defaults_loses() -> None:
    """A crash is a crash, what is in work is drained, topics are never made by a question, and
    what the agents use is open before they start (G1)."""
    app = Stage(progress(40)).app

    assert app.conf.agent_supervisor is mode.CrashingSupervisor
    assert app.conf.stream_wait_empty is True
    assert (app.conf.topic_allow_declare, app.conf.topic_disable_leader) == (False, True)
    assert app.conf.broker_request_timeout >= app.conf.broker_session_timeout
    assert app.on_init_dependencies()[0] is app.resources


#: What must not be called: it drops fetched records, or acknowledges what was not made durable.
_LOSSY = {
    "pause_partitions", "resume_partitions", "noack", "noack_take", "take", "take_events", "events",
    "ack", "maybe_declare",
}  # fmt: skip


def test_no_call_that_loses_is_made() -> None:
    """Faust's pause skips what was fetched; its batches acknowledge what failed (G1)."""
    called = {
        node.func.attr
        for path in (ROOT / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert "create_task" in called
    assert called & _LOSSY == {"ack"}  # of `poste ack`


# ---- the page


def test_every_trap_of_the_page_names_what_forces_it() -> None:
    """A trap, the mechanism, and a test that exists."""
    rows = table(page("delivery"), "trap")

    assert len(rows) > 20
    for _, mechanism, forced in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", forced)
        assert mechanism
        assert named
        for file, name in named:
            assert re.search(rf"def {name}\(", (ROOT / file).read_text()), f"{file}::{name}"


def test_every_trap_that_can_be_set_is_set() -> None:
    """The traps of the trapped worker are used."""
    setters = TRAPPED_WORKER.read_text().partition("for setter in (")[2].partition(")")[0]
    names = set(re.findall(r"\w+", setters))
    tests = "\n".join(p.read_text() for p in TRAPPED_WORKER.parent.glob("test_traps_*.py"))

    assert len(names) > 8
    assert {name for name in names if not re.search(rf'"{name}[="]', tests)} == set()
