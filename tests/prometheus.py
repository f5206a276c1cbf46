"""A Prometheus of the test's own, and the queries of our dashboard and rules."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from local.child import Child
from local.ready import free_ports
from tests.pages import ROOT

RULES = ROOT / "config" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "config" / "grafana" / "poste-restante.json"

_CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: poste
    static_configs: [{{targets: [{target}]}}]
"""


class Prometheus:
    """One that runs. url: of its API."""

    def __init__(self, url: str, child: Child) -> None:
        self.url = url
        self._child = child

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API. Raises AssertionError, with its log, for an error."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer,
        ):
            body = await answer.json()
        assert body["status"] == "success", f"{path} {parameters}: {body}\n{self._child.output()}"
        return body["data"]

    async def query(self, expression: str) -> list[Any]:
        """The series that an expression has now."""
        found: list[Any] = (await self.get("query", query=expression))["result"]
        return found

    async def until_ready(self, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await self._is_ready():  # noqa: ASYNC110 - another process is asked
                await asyncio.sleep(0.1)

    async def _is_ready(self) -> bool:
        assert self._child.alive, self._child.output()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}/-/ready") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Prometheus, scraping one target every second, with our rules. target: `host:port`."""
    program = shutil.which("prometheus")
    assert program is not None, "need('prometheus') first"
    (port,) = free_ports(1)
    config = directory / "prometheus.yml"
    config.write_text(_CONFIG.format(rules=json.dumps(str(RULES)), target=json.dumps(target)))
    child = Child(
        [program, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"],
        log=directory / "prometheus.log",
    )  # fmt: skip
    child.start()
    try:
        yield Prometheus(f"http://127.0.0.1:{port}", child)
    finally:
        child.kill()


def panels() -> dict[str, list[str]]:
    """The queries of each panel of the dashboard, by its title, with Grafana's variables filled in
    as it does for all workers."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            found[panel["title"]] = [filled_in(target["expr"]) for target in panel["targets"]]
    return found


def filled_in(expression: str) -> str:
    for variable, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    return expression


def rules() -> list[dict[str, Any]]:
    """Our alerting rules."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found
