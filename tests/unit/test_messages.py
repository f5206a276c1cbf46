"""Every error that the program raises on purpose is a row of docs/operations.md.

tests/integration/test_errors.py goes from the page to the program: each row is tried. It cannot
miss a line that is in no row. These tests go from the program to the page.
"""

import ast
import inspect
import re
from collections.abc import Iterator

import pytest
from aiokafka import errors as kafka_errors

import poste_restante.errors
import worker.errors
from poste_restante.errors import MailboxError
from tests.operations_page import PAGE, ErrorRow, error_rows, further_lines
from tests.pages import ROOT
from worker.errors import OperatorError
from worker.kafka.errors import fault_of
from worker.settings import KafkaSettings

#: What reaches a person as one line: `poste: ...`, or the last line of a worker's log.
RAISED = {
    name
    for module in (worker.errors, poste_restante.errors)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, (OperatorError, MailboxError))
}
#: Texts that no command and no worker of ours can print: a gateway's own errors.
GATEWAYS = re.compile(
    r"… calls are already waiting for the store|no call slot became free within … s"
    r"|.*another event loop.*|.*closed.*|the table … was replaced while it was open: open it again"
    r"|a receipt must be a str, not …"
    # A command's too, but of a race with others that no reader of the page has.
    r"|the device … is added and removed all the time"
)


def _text(node: ast.expr) -> str | None:
    """A text with `…` for what is put in; None: it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
        return "".join(parts)
    return None


def raised() -> Iterator[tuple[str, str]]:
    """Where, and what, of every error with a text that is made in the source."""
    for folder in ("worker", "poste_restante"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                text = _text(node.args[0]) if name in RAISED else None
                if text is not None and re.search(r"\w", text):
                    yield f"{folder}/{path.name}", text


def lines() -> list[ErrorRow]:
    """The rows of errors, and of reasons and fatal lines."""
    return [*error_rows().values(), *further_lines()]


#: What may stand for `…`: a number, what the command adds behind a text, a setting of ours.
_SAMPLES = ("7", "10", "128", "; 7", ": 7")
#: What stands for the first `…` of texts that are put together from two, by module.
_FIRST = {
    "worker/http_server.py": "cannot serve /healthz and /readyz at 7 port 7",
    "worker/memory_limits.py": "memory_mb is",
}


def explained(text: str, where: str = "") -> bool:
    """Whether a row says this line, or the line that it ends with; a command adds advice to what
    the read module raises."""
    text = text.replace("…", _FIRST.get(where, "…"), 1)
    said = [" ".join(text.replace("…", sample).split()) for sample in _SAMPLES]
    said += [f"{each}: 7" for each in said]
    patterns = [f"(^|: ){row.pattern()}$" for row in lines()]
    return any(re.search(pattern, each) for pattern in patterns for each in said)


@pytest.mark.parametrize(("where", "text"), sorted(set(raised())))
def test_every_error_that_is_raised_has_a_row(where: str, text: str) -> None:
    """An operator searches the page for what they read."""
    found = explained(text, where) or GATEWAYS.fullmatch(text)
    assert found, f"{where}: no row of {PAGE.name}: {text}"


def test_the_errors_are_found() -> None:
    """The test above looks at something."""
    assert len(set(raised())) > 60


def test_every_meaning_of_a_kafka_error_has_a_row() -> None:
    """These are put together from kinds and reasons."""
    for kind in vars(kafka_errors).values():
        if kind is kafka_errors.BrokerResponseError or not isinstance(kind, type):
            continue
        if issubclass(kind, kafka_errors.KafkaError):
            assert explained(fault_of(kind("said"), {}, KafkaSettings()).text), kind
