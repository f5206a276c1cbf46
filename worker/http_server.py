"""The worker's HTTP server: `/healthz`, `/readyz`, `/metrics`. It starts first and stops last."""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from worker.errors import OperatorError
from worker.readiness import Readiness
from worker.settings import HttpSettings

#: Makes the exposition, and its content type, for an Accept header.
Scrape = Callable[[str | None], tuple[bytes, str]]

#: Seconds that running requests get when the server stops. Both endpoints answer at once.
CLOSE_S_MAX = 1.0


@asynccontextmanager
async def serve_health(
    http: HttpSettings, judge: Callable[[], Readiness], scrape: Scrape
) -> AsyncIterator[None]:
    """Serve `/healthz` (200 while the event loop runs), `/readyz` and `/metrics` while the block
    runs.

    judge: called for every request of `/readyz`. scrape: for every one of `/metrics`, with the
    request's Accept header; returns the body and its content type. Both answer at once. A port of 0
    serves nothing. Raises OperatorError if the address cannot be listened on.
    """
    if http.port == 0:
        yield
        return
    runner = web.AppRunner(
        _application(judge, scrape), access_log=None, shutdown_timeout=CLOSE_S_MAX
    )
    await runner.setup()
    try:
        try:
            await _site(runner, http).start()
        except OSError as error:
            raise _cannot_listen(http, error) from None
        yield
    finally:
        await runner.cleanup()


def _site(runner: web.AppRunner, http: HttpSettings) -> web.BaseSite:
    """Return the site to listen on. `::` means every address of this machine, IPv4 too; asyncio
    alone would bind it to IPv6 only, and a probe of 127.0.0.1 would fail."""
    if http.host == "::" and socket.has_dualstack_ipv6():
        address = ("::", http.port)
        listening = socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
        return web.SockSite(runner, listening)
    return web.TCPSite(runner, http.host, http.port)


def _application(judge: Callable[[], Readiness], scrape: Scrape) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_request: web.Request) -> web.Response:
        found = judge()
        return web.json_response(found.to_json(), status=200 if found.ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = scrape(request.headers.get("Accept"))
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
        ]
    )
    return application


def _cannot_listen(http: HttpSettings, error: OSError) -> OperatorError:
    where = f"cannot serve /healthz and /readyz at {http.host} port {http.port}"
    if error.errno == errno.EADDRINUSE:
        return OperatorError(
            f"{where}: another process, such as a second worker, listens there: set http.port"
            " (POSTE_HTTP__PORT) to a free port, or to 0 for no HTTP server"
        )
    why = error.strerror or str(error)
    return OperatorError(f"{where}: {why}: check http.host (POSTE_HTTP__HOST) and http.port")
