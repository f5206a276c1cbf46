"""Fetch pinned jars by HTTP, verified by SHA-256: `python -m local.fetch LOCK FOLDER`.

Needs the packages of requirements/java.txt. One of them, jgo, knows the address of Maven Central
and the layout of a Maven repository. MAVEN_MIRROR_URL, or a mirror in the user's Maven settings,
replaces Maven Central.
"""

import hashlib
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

#: The variable of another Maven repository, as in other tools for Maven coordinates.
MIRROR = "MAVEN_MIRROR_URL"
#: A user's settings of Maven.
SETTINGS = Path.home() / ".m2" / "settings.xml"
#: Maven's name of Maven Central, for `mirrorOf`.
_CENTRAL = "central"
#: Seconds until a repository must answer.
SILENT_S_MAX = 30
#: Retries of a jar, and the statuses that cause them.
RETRIES = 3
_BUSY = (429, 500, 502, 503, 504)
#: Jars that are fetched at once.
_AT_ONCE = 8


class FetchError(RuntimeError):
    """A jar is unavailable, or differs from the pinned one. The text is one line."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of a Maven repository. type: its file extension. sha256: in hexadecimal."""

    group: str
    artifact: str
    type: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Return its name, in a repository and in our folder."""
        return f"{self.artifact}-{self.version}.{self.type}"

    def __str__(self) -> str:
        """Return its line in a lock file."""
        return f"{self.group}:{self.artifact}:{self.type}:{self.version} sha256:{self.sha256}"


_LINE = re.compile(r"([\w.-]+):([\w.-]+):([\w.-]+):([\w.-]+) sha256:([0-9a-f]{64})")


def read_lock(path: Path) -> Iterator[Jar]:
    """Yield the jars of a lock file. Raises FetchError for a malformed line."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise FetchError(f"{path}: line {number} is no GROUP:ARTIFACT:TYPE:VERSION sha256:HASH")
        yield Jar(*match.groups())


def repository(environ: Mapping[str, str] = os.environ, settings: Path = SETTINGS) -> str | None:
    """Return the address of the repository that replaces Maven Central, or None.

    The variable takes precedence over the settings. Raises FetchError for malformed settings.
    """
    if address := environ.get(MIRROR):
        return address.rstrip("/")
    if not settings.is_file():
        return None
    try:
        mirrors = ET.parse(settings).getroot().findall("{*}mirrors/{*}mirror")
    except ET.ParseError as error:
        raise FetchError(f"{settings}: malformed XML ({error})") from error
    found = [(_text(mirror, "mirrorOf"), _text(mirror, "url")) for mirror in mirrors]
    # As in Maven: the exact name comes before patterns, else the first one counts.
    for pattern, address in sorted(found, key=lambda mirror: mirror[0] != _CENTRAL):
        if _covers_central(pattern):
            known = re.sub(r"\$\{env\.(\w+)\}", lambda m: environ.get(m[1], m[0]), address)
            return known.rstrip("/")
    return None


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()


def _covers_central(pattern: str) -> bool:
    words = {word.strip() for word in pattern.split(",")}
    return f"!{_CENTRAL}" not in words and bool(words & {"*", "external:*", _CENTRAL})


def fetch(jars: Sequence[Jar], folder: Path, address: str | None) -> None:
    """Download all jars into a new folder. Raises FetchError for the first that is unavailable."""
    import requests
    import truststore
    from jgo.maven import MavenContext
    from urllib3.util import Retry

    truststore.inject_into_ssl()  # the certificates that this machine trusts, as pip does
    repositories = None if address is None else {_CENTRAL: address}
    context = MavenContext(remote_repos=repositories)
    asked = context.remote_repos[_CENTRAL]
    # jgo's own download opens two connections for each file, and takes 23 s instead of 3.
    session = requests.Session()
    retry = Retry(RETRIES, backoff_factor=0.5, status_forcelist=_BUSY, raise_on_status=False)
    for scheme in ("https://", "http://"):
        adapter = requests.adapters.HTTPAdapter(max_retries=retry, pool_maxsize=_AT_ONCE)
        session.mount(scheme, adapter)

    def bring(jar: Jar) -> None:
        where = context.project(jar.group, jar.artifact).at_version(jar.version).path_prefix
        try:
            answer = session.get(f"{asked}/{where.as_posix()}/{jar.filename}", timeout=SILENT_S_MAX)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise FetchError(f"{asked} does not give {jar.filename}: {error}") from error
        found = hashlib.sha256(answer.content).hexdigest()
        if found != jar.sha256:
            raise FetchError(
                f"{jar.filename} from {asked} has SHA-256 {found}, and {jar.sha256} is pinned"
            )
        (folder / jar.filename).write_bytes(answer.content)

    folder.mkdir(parents=True)
    with session, ThreadPoolExecutor(_AT_ONCE) as pool:
        brought = [pool.submit(bring, jar) for jar in jars]
        try:
            for one in brought:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    """Fetch as the command line says. Returns 1, with one line, on failure."""
    lock, folder = map(Path, sys.argv[1:])
    try:
        fetch(list(read_lock(lock)), folder, repository())
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
