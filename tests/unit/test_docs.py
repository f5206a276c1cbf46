"""The documents are held to the code: what they name exists, what they show runs."""

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.operations_page import further_lines
from tests.pages import PAGES, ROOT, anchors, code, page, table, tracked_files
from worker.cli import poste

README = (ROOT / "README.md").read_text()
EVERYTHING = "\n".join(path.read_text() for path in PAGES)
#: Lines of code: in a fence, or indented by four.
CODE_LINES = re.findall(r"^ {4}(\S.*)$", EVERYTHING, re.MULTILINE)


# ---- what is shown runs


def test_the_sample_configuration_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command, as the file itself says."""
    monkeypatch.delenv("POSTE_CONFIG", raising=False)
    arguments = ["--config", str(ROOT / "config" / "poste.toml"), "config", "check"]
    done = CliRunner().invoke(poste, arguments)

    assert (done.exit_code, done.output) == (0, "the configuration is valid\n")


def _commands() -> set[str]:
    spans = re.findall(r"`poste ([a-z][^`…\n]*)`", EVERYTHING)
    return {*spans, *re.findall(r"(?m)^poste ([a-z].*)$", "\n".join(CODE_LINES))}


@pytest.mark.parametrize("line", sorted(_commands()))
def test_every_command_that_is_named_exists(line: str) -> None:
    """With the options that are named."""
    words = [word.strip(",:;") for word in shlex.split(line, comments=True)]
    command: click.Command = poste
    while isinstance(command, click.Group) and words:
        command = command.commands[words.pop(0)]
    options = {o for p in command.params for o in p.opts if isinstance(p, click.Option)}

    assert {word for word in words if word.startswith("--")} <= options
    assert not isinstance(command, click.Group) or line == "config"


def test_every_command_is_in_the_tour() -> None:
    """Nothing that is there is left out."""
    tour = README.partition("## A quick tour")[2].partition("\n## ")[0]

    for name in poste.commands:
        assert f"    poste {name}" in tour


def test_every_make_target_that_is_named_exists_and_none_is_left_out() -> None:
    """Two commands do everything; the others are said."""
    made = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    named = set(re.findall(r"`make ([a-z-]+)`", EVERYTHING))
    named |= set(re.findall(r"(?m)^make ([a-z-]+)", "\n".join(CODE_LINES)))

    assert named == made


def test_the_steps_of_the_flush_are_those_of_its_module() -> None:
    """Both number them alike: a step in one alone sends a reader to code that is not there."""
    listed = page("delivery").partition("\n## The flush\n")[2].partition("\nOne flush runs")[0]
    module = (ROOT / "worker" / "flush.py").read_text().partition("\nimport ")[0]

    steps = re.findall(r"(?m)^ *(\d)\. ", module)
    assert re.findall(r"(?m)^(\d)\. ", listed) == steps == [str(n) for n in range(1, 7)]


# ---- what is named exists


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_resolves(path: Path) -> None:
    """Files, headings and references; addresses elsewhere are not asked."""
    text = path.read_text()
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if target.startswith("https://"):
            continue
        linked = (path.parent / target) if target else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), anchor
    defined = set(re.findall(r"(?m)^\[(\w+)\]: https://", text))
    assert set(re.findall(r"\]\[(\w+)\]", text)) == defined


def test_every_file_and_every_name_in_it_exists() -> None:
    """A test that is renamed is found again from the guarantee that it protects, a method from the
    step that it takes."""
    named = re.findall(r"((?:worker|poste_restante|tests|config|docs)/[\w/]+\.\w+)", EVERYTHING)
    inside = re.findall(r"`([\w/]+\.py)::([\w.]+)`", EVERYTHING)

    assert [name for name in named if not (ROOT / name).exists()] == []
    assert len([name for _, name in inside if name.startswith("test_")]) > 20
    for file, name in inside:
        text = (ROOT / file).read_text()
        for part in name.split("."):
            assert re.search(rf"(?:def|class) {part}\b", text), f"{file}::{name}"


def test_every_guarantee_names_its_tests() -> None:
    """All of them, in order, twice: what it is, and what it rests on."""
    guarantees = [f"G{n}" for n in range(1, 13)]
    text = page("delivery")

    assert [row[0] for row in table(text, "", "guarantee")] == guarantees
    assert [row[0] for row in table(text, "", "rests on", "tests")] == guarantees


def test_every_module_has_its_place() -> None:
    """Architecture names all of them: what is new is put somewhere."""
    text = page("architecture")
    modules = [p for d in ("worker", "poste_restante") for p in sorted((ROOT / d).rglob("*.py"))]
    names = [str(path.relative_to(ROOT)) for path in modules if path.stem[:2] != "__"]

    assert [name for name in names if name not in text] == []


def test_the_ports_are_what_the_page_says() -> None:
    """A protocol, and an adapter that has its methods."""
    for port, where, adapter in table(page("architecture"), "port"):
        module = importlib.import_module(code(where).removesuffix(".py").replace("/", "."))
        protocol = getattr(module, code(port))
        methods = {name for name in vars(protocol) if not name.startswith("_")}
        assert any(
            methods <= set(dir(getattr(loaded, code(adapter), None)))
            for loaded in map(importlib.import_module, _MODULES)
        ), adapter


_MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("worker", "poste_restante")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.stem[:2] != "__"
]


def test_the_limits_are_what_the_page_says() -> None:
    """Name by name, value by value (G8)."""
    for name, value, _ in table(page("architecture"), "name", "value"):
        module, _, constant = code(name).rpartition(".")
        assert str(getattr(importlib.import_module(module), constant)) == value, name


def _said() -> set[str]:
    """Every text of the worker's source, `…` standing for what is put in."""
    said: set[str] = set()
    for path in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                said.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(re.sub(r"%(?:\.\d)?[sdrfg]", "…", node.value))
    return said


def test_the_further_lines_of_the_log_are_in_the_code() -> None:
    """What an operator searches the page for is what the worker says."""
    said = "\n".join(_said())
    rows = further_lines()
    events = table(page("operations"), "event", "level", "fields", "line")

    assert len(rows) > 10
    assert len(events) > 10
    for line in [row.line for row in rows] + [code(row[3]) for row in events if "`" in row[3][:1]]:
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        assert re.search(pattern, said), line


def test_the_newest_changes_are_of_this_version() -> None:
    """A release without its changes is none."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.findall(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text())[0]

    assert newest == version


#: Written so that this file has none of them.
_FOREIGN = re.compile(
    r"/(?:wor[k]|hom[e]|roo[t]|User[s]|tm[p])/|pyp[i]\.org|pythonhoste[d]|repo\d?\.mave[n]"
    r"|(?:index-ur[l]|trusted-hos[t])[ =]+\S*\w\.\w"
)


def test_no_file_knows_a_machine_or_a_registry() -> None:
    """A clone works anywhere, from whatever registry its machine is set up for."""
    texts = {path: path.read_bytes().decode(errors="replace") for path in tracked_files()}

    assert len(texts) > 50
    assert {path: m[0] for path, text in texts.items() if (m := _FOREIGN.search(text))} == {}
