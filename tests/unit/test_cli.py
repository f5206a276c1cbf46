"""The command: usage, help, exit statuses, and what is printed; without any service."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner

from poste_restante import Device, Page
from poste_restante.message import Message
from poste_restante.position import LogId, Position
from worker import cli
from worker.cli import bar, poste, program, rendering, sending
from worker.errors import OperatorError

COMMANDS = ["init", "worker", "send", "fetch", "ack", "devices", "progress", "skip", "rewind",
            "epoch", "config", "dead-letters", "purge", "export", "verify"]  # fmt: skip


def schema(name: str) -> Any:
    """A JSON Schema as it is packaged."""
    found = json.loads(files("worker.cli").joinpath("schemas", f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def run(
    *arguments: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The real program, with an environment of nothing but `env`."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=dict(env or {}), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_commands_are_the_ones_that_stay_put() -> None:
    """Scripts and people rely on the names."""
    assert sorted(poste.commands) == sorted(COMMANDS)
    group = poste.commands["config"]
    assert isinstance(group, click.Group)
    assert sorted(group.commands) == ["check", "show"]
    group = poste.commands["dead-letters"]
    assert isinstance(group, click.Group)
    assert sorted(group.commands) == ["list", "replay", "show"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_works_whatever_the_configuration_is(command: str) -> None:
    """Whoever has a broken configuration needs it most."""
    broken = {"POSTE_NONSENSE": "1"}
    done = CliRunner().invoke(poste, [command, "--help"], env=broken)

    assert done.exit_code == 0
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["send", "bob"],
        ["send", "", "text"],
        ["fetch", "x" * 1025],
        ["send", "\udcff", "text"],
        ["send", "bob", "\udcff"],
        ["send", "bob", "text", "--source", ""],
        ["send", "bob", "text", "--expires-in", "99999999999999"],
        ["fetch", "bob", "--limit", "0"],
        ["fetch", "bob", "--after", "a", "--since", "b"],
        ["fetch", "bob", "--device", "the phone"],
        ["ack", "bob", "receipt", "--device", ""],
        ["devices", ""],
        ["purge", ""],
        ["export", ""],
        ["verify", "--offset", "5"],
        ["verify", "--offset", "5", "--partition", "0", "--since", "2026-01-31T00:00:00Z"],
        ["verify", "--sample", "0"],
        ["verify", "--since", "yesterday"],
        ["purge", "x" * 1025],
        ["init", "--partitions", "0"],
        ["send", "bob", "text", "--plain", "--id", "1"],
        ["send", "bob", "text", "--header", "ce_id=1"],
        ["send", "bob", "text", "--header", "=1"],
        ["send", "bob", "text", "--header", "x"],
        ["send", "bob", "text", "--header", "x=\udcff"],
        ["fetch", "bob", "--region", ""],
        ["progress", "--watch", "--max-lag", "5"],
        ["progress", "--watch", "--interval", "0"],
        ["progress", "--max-lag", "-1"],
        ["skip", "--to", "5"],
        ["skip", "--to", "5", "--all", "--partition", "0"],
        ["rewind"],
        ["rewind", "--to", "5", "--minutes", "5"],
        ["rewind", "--minutes", "-1"],
        ["skip", "--partition", "-1", "--to", "5"],
        ["dead-letters", "list", "--reason", "bored"],
        ["dead-letters", "list", "--since", "yesterday"],
        ["dead-letters", "list", "--offset", "5"],
        ["dead-letters", "show", "5"],
        ["dead-letters", "replay"],
        ["dead-letters", "replay", "0/1", "--all"],
        ["dead-letters", "replay", "--all", "--reason", "no_body"],
    ],
)
def test_wrong_usage_is_said_with_status_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any service is asked."""
    monkeypatch.setattr(sys, "argv", ["poste", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert "Error:" in capsys.readouterr().err


def test_a_wrong_configuration_is_one_line_with_status_2() -> None:
    """On standard error; standard output stays for what programs read."""
    done = run("progress", "--json", env={"POSTE_KAFKA__TOPIK": "x"})

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("poste: unknown variable POSTE_KAFKA__TOPIK")


def test_config_show_hides_secrets_and_config_check_reads_certificates() -> None:
    """What is in force, as JSON; what could only fail later, now."""
    env = {"POSTE_RECEIPT_KEYS": '["hush"]', "POSTE_KAFKA__SSL_CAFILE": "/nowhere/ca.pem"}
    shown = run("config", "show", env=env)
    checked = run("config", "check", env={**env, "POSTE_KAFKA__SECURITY_PROTOCOL": "SSL"})

    assert shown.returncode == 0
    assert json.loads(shown.stdout)["kafka"]["topic"] == "undelivered-messages"
    assert "hush" not in shown.stdout
    assert checked.returncode == 2
    assert "kafka.ssl_cafile: cannot use" in checked.stderr
    assert run("config", "check").stdout == "the configuration is valid\n"


@pytest.mark.parametrize("command", [["config", "show"], ["--help"]])
def test_a_reader_of_only_the_first_line_gets_no_traceback(command: list[str]) -> None:
    """`poste ... | head`."""
    reader, writer = subprocess.PIPE, subprocess.PIPE
    program = subprocess.Popen(
        [sys.executable, "-m", "worker", *command], stdout=reader, stderr=writer, env={}
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    said = program.stderr.read()
    program.wait(60)
    program.stderr.close()

    assert b"Traceback" not in said
    assert b"Exception" not in said


def test_an_output_that_cannot_be_written_is_one_line() -> None:
    """A full disk, say; and what is closed is written to nobody."""
    command = [sys.executable, "-m", "worker", "config", "show"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env={}, check=False
        )
    assert done.stderr == "poste: cannot write the output: No space left on device\n"
    assert done.returncode == 1

    for closed in ("<&-", ">&-", "2>&-"):
        line = f'exec "$@" {closed}'
        done = subprocess.run(
            ["sh", "-c", line, "sh", *command], capture_output=True, text=True, env={}, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), closed


def test_ctrl_c_ends_a_command_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a traceback, as shells expect it."""

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(program, "load_settings", interrupted)
    monkeypatch.setattr(sys, "argv", ["poste", "config", "show"])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def message(offset: int, body: bytes, **more: Any) -> Message:
    return Message(
        user_id="bob", id=f"id-{offset}", body=body, position=Position(1, 3, offset), **more
    )


PAGE = Page(
    (
        message(7, b"hello", source="/chat", type="chat.message", content_type="text/plain",
                time=datetime(2026, 1, 31, tzinfo=UTC)),
        message(8, b"\xff\x00", headers=(("traceparent", b"x"), ("ce_room", b"r"))),
        message(9, b""),
    ),
    receipt="abc",
    more=True,
)  # fmt: skip


def test_devices_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """A cursor that cannot be read is said, for a program and for a person."""
    found = (
        Device("pad", {}),
        Device("phone", {LogId(2, 0): 7, LogId(1, 3): 42}),
        Device("tv", None),
    )
    made = rendering.devices_object("bob", found)

    jsonschema.validate(made, schema("devices"))
    assert [each["device"] for each in made["devices"]] == ["pad", "phone", "tv"]
    assert made["devices"][1]["acknowledged"] == [
        {"epoch": 1, "partition": 3, "offset": 42}, {"epoch": 2, "partition": 0, "offset": 7},
    ]  # fmt: skip
    assert made["devices"][2]["acknowledged"] is None
    rendering.print_devices("bob", found)
    rendering.print_devices("ann", ())
    said = capsys.readouterr().out
    assert "1/3/42, 2/0/7" in said
    assert "cannot be read" in said
    assert "no device of ann" in said


def test_fetch_json_is_what_was_promised() -> None:
    """user_id, messages with event and position, receipt, more; the body in `data` where it is
    text (G2)."""
    found = rendering.page_object("bob", PAGE)

    jsonschema.validate(found, schema("fetch"))
    assert found == {
        "user_id": "bob",
        "messages": [
            {
                "event": {
                    "specversion": "1.0", "id": "id-7", "source": "/chat", "type": "chat.message",
                    "time": "2026-01-31T00:00:00Z", "datacontenttype": "text/plain",
                    "data": "hello",
                },
                "epoch": 1, "partition": 3, "offset": 7,
            },
            {
                "event": {
                    "specversion": "1.0", "id": "id-8", "source": "poste-restante",
                    "type": "poste-restante.message", "room": "r", "data_base64": "/wA=",
                },
                "epoch": 1, "partition": 3, "offset": 8,
            },
            {
                "event": {
                    "specversion": "1.0", "id": "id-9", "source": "poste-restante",
                    "type": "poste-restante.message", "data": "",
                },
                "epoch": 1, "partition": 3, "offset": 9,
            },
        ],
        "receipt": "abc",
        "more": True,
        "fresh_as_of": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"receipt": 5}, {"more": None}, {"messages": [{"event": {}}]}, {"user_id": ""}],
)
def test_the_schema_refuses_what_is_not_so(change: dict[str, Any]) -> None:
    """It says something."""
    found = rendering.page_object("bob", PAGE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, **change}, schema("fetch"))


def test_a_page_for_people_is_plain_when_it_is_piped(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a message, none wrapped, no escape codes, markup in a body shown as it is, control
    characters not at all."""
    long, steering = message(7, b"[red]x[/red] " + b"y" * 100), message(8, b"\x1b[31m\x07z")
    page = Page((long, steering), "abc", more=False)
    rendering.print_page("[b]bob", page)
    printed = capsys.readouterr().out

    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "[red]x[/red] yyy" in printed
    assert "1/3/7" in printed
    assert "receipt: abc\n" in printed
    assert len(printed.splitlines()) == 4


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_another_encoding_is_no_error(encoding: str) -> None:
    """What it lacks is written as an escape, such as of a message's body."""
    program = "from worker import cli; cli.poste = lambda **_: print('日'); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONIOENCODING": encoding},
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0
    assert done.stdout.decode(encoding).strip() in {"日", "\\u65e5"}


def test_an_empty_mailbox_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """With the user's name as it is."""
    rendering.print_page("[b]bob", Page((), None, more=False))

    assert capsys.readouterr().out == "nothing waits for [b]bob\n"


def test_a_shell_completes_commands_options_and_reasons() -> None:
    """As the documents set it up."""

    def completed(*words: str) -> str:
        environment = {
            "_POSTE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("poste", *words)),
            "COMP_CWORD": str(len(words)),
        }  # fmt: skip
        program = "import sys; sys.argv[0] = 'poste'; from worker.__main__ import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True,
            check=False, timeout=60,
        ).stdout  # fmt: skip

    assert completed("dead") == "plain,dead-letters\n"
    assert "plain,replay\n" in completed("dead-letters", "")
    assert "plain,too_large\n" in completed("dead-letters", "list", "--reason", "too")
    assert "plain,--bootstrap-server\n" in completed("fetch", "--boot")


def test_standard_input_is_read_whole_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte; what no broker takes is refused before it is all in memory (G8)."""
    assert sending.standard_input(BytesIO(b"\xff\n\0")) == b"\xff\n\0"
    monkeypatch.setattr(sending, "STDIN_BYTES_MAX", 5)
    assert sending.standard_input(BytesIO(b"12345")) == b"12345"
    endless = BytesIO(b"1" * 100)
    with pytest.raises(OperatorError, match="a text of more than 5 bytes is too large"):
        sending.standard_input(endless)
    assert endless.tell() == 6


def test_a_progress_bar_is_for_terminals_and_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results stay alone on standard output."""

    def use() -> tuple[str, str]:
        with bar.progress_bar("reading") as shown:
            shown.begin(10)
            shown.advance(4)
        return capsys.readouterr()

    assert use() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    out, err = use()
    assert out == ""
    assert "reading" in err
    assert "4/10" in err
