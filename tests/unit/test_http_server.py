"""The HTTP server of a worker, on real sockets."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import aiohttp
import pytest

from local.ready import free_ports
from worker.assignment import Assignment
from worker.errors import OperatorError
from worker.http_server import serve_health
from worker.metrics import WorkerMetrics
from worker.readiness import Readiness, readiness
from worker.settings import HttpSettings
from worker.status import Phase, WorkerStatus


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


def unasked(*_: object) -> NoReturn:
    pytest.fail("no request comes")


@asynccontextmanager
async def served(host: str, status: WorkerStatus | None = None) -> AsyncIterator[int]:
    def judge() -> Readiness:
        return readiness(status or WorkerStatus(), Assignment())

    (port,) = free_ports(1)
    async with serve_health(HttpSettings(host=host, port=port), judge, WorkerMetrics().scrape):
        yield port


async def test_healthz_before_anything_is_open_is_alive_and_not_ready() -> None:
    status = WorkerStatus()
    async with served("127.0.0.1", status) as port:
        assert await get(f"http://127.0.0.1:{port}/healthz") == (200, {"alive": True})
        code, body = await get(f"http://127.0.0.1:{port}/readyz")
        assert (code, body["ready"], body["phase"]) == (503, False, "starting")
        status.enter(Phase.JOINED)
        code, body = await get(f"http://127.0.0.1:{port}/readyz")
        assert (code, body["ready"], body["phase"]) == (200, True, "joined")


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "[::]"])
async def test_every_address_of_ipv6_answers_on_ipv4_too(host: str) -> None:
    """A probe asks 127.0.0.1."""
    async with served(host) as port:
        for asked in ("[::1]", "127.0.0.1"):
            assert (await get(f"http://{asked}:{port}/healthz"))[0] == 200


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]", "0:0:0:0:0:0:0:1"])
async def test_one_address_of_ipv6_answers(host: str) -> None:
    async with served(host) as port:
        assert (await get(f"http://[::1]:{port}/healthz"))[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_that_is_taken_is_an_operators_error(host: str) -> None:
    async with served(host) as port:
        with pytest.raises(OperatorError, match="listens there") as raised:
            async with serve_health(HttpSettings(host=host, port=port), unasked, unasked):
                pytest.fail("two listen at one port")
        assert str(port) in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_an_operators_error(host: str) -> None:
    with pytest.raises(OperatorError, match=r"check http\.host"):
        async with served(host):
            pytest.fail("it listens at the address of another machine")


async def test_no_port_serves_nothing() -> None:
    async with serve_health(HttpSettings(port=0), unasked, unasked):
        pass


@pytest.mark.parametrize("host", ["[::", "::]", "[127.0.0.1:80]", "::1:x", "http://a", "a:80", " "])
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="must be a host name or an address"):
        HttpSettings(host=host)
