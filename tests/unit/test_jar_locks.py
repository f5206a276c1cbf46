"""Which jars are fetched without Maven, and where from; nothing is fetched here."""

import re
import sys
from pathlib import Path

import pytest

from local.fetch import MIRROR, FetchError, main, read_lock, repository
from local.java import lock, pom

SETTINGS = """\
<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>{}</mirrors></settings>
"""
MIRROR_OF = "<mirror><id>m</id><mirrorOf>{}</mirrorOf><url>{}</url></mirror>"


@pytest.mark.parametrize("service", ["kafka", "dynamodb"])
def test_the_lock_holds_what_the_pom_asks_for(service: str) -> None:
    """`make lock-jars` was run after the last change of the pom."""
    held = list(read_lock(lock(service)))
    asked = re.findall(
        r"<groupId>(.+?)</groupId><artifactId>(.+?)</artifactId><version>(.+?)</version>",
        pom(service).read_text(),
    )

    assert len(held) > 90
    assert len({jar.filename for jar in held}) == len(held)
    assert {*asked} <= {(jar.group, jar.artifact, jar.version) for jar in held}


@pytest.mark.parametrize("line", ["", "a:b:jar:1", "a:b:1 sha256:" + "0" * 64, "a:b:jar:1 sha1:00"])
def test_a_line_that_names_no_jar_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
) -> None:
    """What is not pinned is not fetched."""
    path = tmp_path / "lock"
    path.write_text(f"# a comment\n{line}\n")
    monkeypatch.setattr(sys, "argv", ["fetch", str(path), str(tmp_path / "jars")])

    assert main() == 1
    expected = f"{path}: line 2 is no GROUP:ARTIFACT:TYPE:VERSION sha256:HASH\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "jars").exists()


def settings(directory: Path, *mirrors: tuple[str, str]) -> Path:
    path = directory / "settings.xml"
    path.write_text(SETTINGS.format("".join(MIRROR_OF.format(*mirror) for mirror in mirrors)))
    return path


@pytest.mark.parametrize(
    ("mirrors", "address"),
    [
        ([], None),
        ([("central", "https://a.test/maven/")], "https://a.test/maven"),
        ([("*", "https://a.test")], "https://a.test"),
        ([("other, external:*", "https://a.test")], "https://a.test"),
        ([("*,!central", "https://a.test")], None),
        ([("other", "https://a.test")], None),
        ([("external:http:*", "https://a.test")], None),
        ([("*", "https://a.test"), ("central", "https://b.test")], "https://b.test"),
        ([("*", "https://a.test"), ("*", "https://b.test")], "https://a.test"),
        ([("*", "https://${env.USED}/${env.UNSET}")], "https://a.test/${env.UNSET}"),
    ],
)
def test_a_mirror_of_mavens_settings_is_asked_as_maven_would(
    tmp_path: Path, mirrors: list[tuple[str, str]], address: str | None
) -> None:
    assert repository({"USED": "a.test"}, settings(tmp_path, *mirrors)) == address


def test_the_variable_comes_before_the_settings(tmp_path: Path) -> None:
    path = settings(tmp_path, ("*", "https://a.test"))

    assert repository({MIRROR: "https://b.test/"}, path) == "https://b.test"
    assert repository({MIRROR: ""}, path) == "https://a.test"
    assert repository({}, tmp_path / "missing") is None


def test_malformed_settings_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.xml"
    path.write_text("<settings>")

    with pytest.raises(FetchError, match=r"settings\.xml: malformed XML \(no element found.*\)$"):
        repository({}, path)
