"""Every log call of the worker carries an event, and the page of operations lists them all."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.pages import ROOT, code, page, table
from worker.resume import OpeningNoteKind

#: What a line has of its own.
_RESERVED = frozenset({"event", "exception", "level", "logger", "message", "time"})
#: What no line may carry.
_PRIVATE = frozenset({"body", "key", "user", "user_id", "value"})
#: Not a log call of ours: `OneLine` makes it of the line with which mode logs what ends a worker.
WORKER_FAILED = "worker_failed"
_METHODS = frozenset({"critical", "debug", "error", "exception", "info", "log", "warning"})


@dataclass(frozen=True)
class Event:
    """One log call. level: of `logging`, in upper case."""

    name: str
    level: str
    fields: frozenset[str]
    where: str


def _log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _METHODS
            and ast.unparse(node.func.value).lower().endswith("logger")
        ):
            yield node


def _events(call: ast.Call, where: str) -> Iterator[Event]:
    """The events of a log call: one; or, of an opening's note, each kind of it."""
    extra = next((k.value for k in call.keywords if k.arg == "extra"), None)
    assert isinstance(extra, ast.Call), f"{where}: no extra=event(...)"
    assert ast.unparse(extra.func) == "event", where
    fields = [keyword.arg for keyword in extra.keywords]
    assert None not in fields, f"{where}: name the fields"
    assert isinstance(call.func, ast.Attribute)
    (name,) = extra.args
    if ast.unparse(name) == "note.kind":
        levels = _note_levels()
    else:
        assert isinstance(name, ast.Constant), f"{where}: the name is no constant"
        levels = {str(name.value): call.func.attr.upper()}
    for each, level in levels.items():
        yield Event(each, level, frozenset(map(str, fields)), where)


def _note_levels() -> dict[str, str]:
    """The level of each kind of note that `worker.resume` makes."""
    levels = {}
    for node in ast.walk(ast.parse((ROOT / "worker" / "resume.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "OpeningNote":
            kind, level = (ast.unparse(each).rpartition(".")[2] for each in node.args[:2])
            levels[str(OpeningNoteKind[kind])] = level
    assert len(levels) == len(OpeningNoteKind)
    return levels


def events() -> list[Event]:
    """Every event that the worker's code names."""
    return [
        event
        for path in sorted((ROOT / "worker").rglob("*.py"))
        for call in _log_calls(path)
        for event in _events(call, f"{path.relative_to(ROOT)}:{call.lineno}")
    ]


def test_every_log_call_names_its_event() -> None:
    """A program that reads the log needs no sentence."""
    found = events()

    assert len(found) > 15
    for event in found:
        assert event.name.replace("_", "").isalpha(), event
        assert event.name == event.name.lower(), event
        assert not event.fields & (_RESERVED | _PRIVATE), event


def test_an_events_name_means_one_thing() -> None:
    """Log calls with the same name have the same level and the same fields."""
    kinds: dict[str, Event] = {}
    for event in events():
        first = kinds.setdefault(event.name, event)
        assert (event.level, event.fields) == (first.level, first.fields), (first, event)


def _row(event: Event) -> tuple[str, str, str]:
    """What the page's table says of an event: name, level, fields."""
    return event.name, event.level, ", ".join(f"`{field}`" for field in sorted(event.fields))


def test_the_page_of_operations_lists_every_event() -> None:
    """Name, level and fields, in alphabetical order, and what to do about each."""
    failed = Event(WORKER_FAILED, "ERROR", frozenset({"error"}), "worker/logging_config.py")
    wanted = sorted({_row(event) for event in [*events(), failed]})
    rows = table(page("operations"), "event", "level", "fields", "line", "what to do")
    listed = [(code(row[0]), row[1], row[2]) for row in rows]

    missing = [f"| `{name}` | {level} | {fields} | ... | ... |" for name, level, fields in wanted
               if (name, level, fields) not in listed]  # fmt: skip
    assert missing == [], "docs/operations.md, Log lines: add, with the line and what to do"
    assert listed == wanted
    assert all(row[3] and row[4] for row in rows)
