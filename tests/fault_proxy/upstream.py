"""A stand-in for DynamoDB Local, of the standard library's HTTP: it remembers what it is asked."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.fault_proxy.server import FaultyEndpoint

#: Seconds that a test's client waits for an answer.
TIMEOUT_S = 10.0
ANSWER = b'{"UnprocessedItems":{},"Item":{"k":{"S":"a value that is long enough to be cut"}}}'


class Upstream:
    """made: the bodies of the calls that it was asked to make, in order."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                upstream.made.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> list[list[str]]:
        """What was put by each call, sorted."""
        return [sorted(_keys(body)) for body in self.made]


def _keys(body: dict[str, Any]) -> list[str]:
    return [
        each["PutRequest"]["Item"]["k"]["S"] for each in body.get("RequestItems", {}).get("t", [])
    ]


def batch(*keys: str) -> dict[str, Any]:
    """A BatchWriteItem that puts items of these keys."""
    return {"RequestItems": {"t": [{"PutRequest": {"Item": {"k": {"S": key}}}} for key in keys]}}


class Answered(Exception):  # noqa: N818 - said as a state
    """An answer that is no success: its status and body."""


def call(
    endpoint: FaultyEndpoint,
    body: dict[str, Any],
    operation: str = "BatchWriteItem",
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """The decoded answer, over a connection of its own. Raises Answered, OSError or HTTPException,
    or ValueError for what is no JSON."""
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=timeout_s)
    try:
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        connection.request("POST", "/", json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise Answered(answer.status, said)
        return json.loads(said)
    finally:
        connection.close()


def outcome(endpoint: FaultyEndpoint, body: dict[str, Any], operation: str) -> str:
    """What a call came to, as text, for comparison."""
    try:
        return repr(call(endpoint, body, operation))
    except (Answered, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except (OSError, http.client.HTTPException):
        return "broken off"  # in which words depends on when the client looks


@contextmanager
def both(**settings: Any) -> Iterator[tuple[Upstream, FaultyEndpoint]]:
    """An upstream and an endpoint before it."""
    with Upstream() as upstream, FaultyEndpoint(upstream.url, **settings) as endpoint:
        yield upstream, endpoint
