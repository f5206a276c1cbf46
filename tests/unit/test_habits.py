"""The workflow and the site of documents, read as data: neither GitHub nor mkdocs is asked."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

import poste_restante
from local.documents import documents, remove_links
from tests.pages import PAGES, ROOT

WORKFLOW_FILE = ROOT / ".github" / "workflows" / "check.yml"
WORKFLOW = yaml.safe_load(WORKFLOW_FILE.read_text())
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", MAKEFILE))


class _Site(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Without calling what mkdocs.yml names."""


_Site.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Site)  # a SafeLoader, see above


# ---- the workflow


def test_every_command_of_the_workflow_is_a_target_of_the_makefile() -> None:
    """What runs there can be run here, by the same words."""
    commands = [step["run"] for step in STEPS if "run" in step]

    assert set(commands) == {"make check", "make test", "make audit", "make docs"}
    assert {command.split()[1] for command in commands} <= TARGETS


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    """A tag can be moved to another commit."""
    used = re.findall(r"(?m)^ *- uses: (.+)$", WORKFLOW_FILE.read_text())

    assert len(used) == sum("uses" in step for step in STEPS) > 0
    for line in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_workflow_may_read_and_nothing_else() -> None:
    """No job widens it, keeps the token in the checkout, sees a secret, or runs without end."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets." not in WORKFLOW_FILE.read_text()
    assert "pull_request_target" not in WORKFLOW_FILE.read_text()
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
    for step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_oldest_python_is_among_those_of_the_workflow() -> None:
    pythons = WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"]

    assert f'requires-python = ">={pythons[0]}"' in (ROOT / "pyproject.toml").read_text()


# ---- the site


def _pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(inner)


def test_every_document_is_in_the_navigation() -> None:
    """Once; a page that is in none is found by nobody."""
    pages = [str(path.relative_to(ROOT)) for path in documents() if path.suffix == ".md"]

    assert sorted(_pages(SITE["nav"])) == sorted(pages)
    assert {*PAGES} <= documents()


def test_the_site_is_built_strictly_and_outside_of_what_git_sees() -> None:
    """A dead link is an error."""
    assert SITE["strict"] is True
    assert "mkdocs build --strict\n" in MAKEFILE  # with --quiet it would exit with 0
    assert {level for name, level in SITE["validation"]["links"].items()} == {"warn"}
    for folder in (SITE["docs_dir"], SITE["site_dir"]):
        assert folder.startswith(".cache/")
    assert ".cache/\n" in (ROOT / ".gitignore").read_text()


def test_every_public_name_is_in_the_reference() -> None:
    named = set(re.findall(r"(?m)^::: (\S+)$", (ROOT / "docs" / "api.md").read_text()))

    assert {f"poste_restante.{name}" for name in poste_restante.__all__} <= named


def test_a_link_to_what_is_no_page_becomes_text() -> None:
    """It would lead nowhere on the site; links to pages and to other hosts stay."""
    page = ROOT / "docs" / "one.md"
    pages = {page, ROOT / "docs" / "two.md", ROOT / "docs" / "picture.svg"}
    text = (
        "[two](two.md#part) [test](../tests/x.py) [folder](../examples) [site](https://a.test)"
        " ![picture](picture.svg) [here](#part)"
    )

    assert remove_links(page, text, pages) == (
        "[two](two.md#part) test folder [site](https://a.test) ![picture](picture.svg)"
        " [here](#part)"
    )
