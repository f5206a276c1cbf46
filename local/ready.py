"""Checks that a service answers, in its own protocol.

An open port is no proof: Docker's proxy accepts connections before a service listens behind it, and
a broker listens before it is registered.
"""

import http.client
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol

_HOST = "127.0.0.1"
#: Below the ephemeral ports: from 32768 on with Linux, from 49152 on with others.
_PORTS = range(20_000, 32_768)
#: Seconds for one answer, before another request.
_ANSWER_S_MAX = 2.0
#: Seconds between two checks of a condition.
_POLL_S = 0.05

#: Metadata, version 1, of no topics: the smallest request whose answer has the number of brokers.
_METADATA, _METADATA_VERSION = 3, 1
#: The answer repeats it, which identifies a broker.
_CORRELATION = 0x706F7374
_REQUEST = struct.pack(">hhihi", _METADATA, _METADATA_VERSION, _CORRELATION, -1, 0)
#: Size, correlation id, number of brokers: the first 12 bytes of the answer.
_ANSWER = struct.Struct(">iii")


class WatchedProcess(Protocol):
    """The process whose service is awaited."""

    @property
    def alive(self) -> bool: ...
    def tail(self) -> str: ...


def wait_until(
    condition: Callable[[], bool], *, what: str, seconds: float, child: WatchedProcess | None = None
) -> None:
    """Wait for a condition. Raises RuntimeError, with the child's last lines, on failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        if child is not None and not child.alive:
            raise RuntimeError(f"{what}: the process ended:\n{child.tail()}")
        if time.monotonic() > deadline:
            tail = f":\n{child.tail()}" if child is not None else ""
            raise RuntimeError(f"{what}: not within {seconds:.0f} s{tail}")
        time.sleep(_POLL_S)


def kafka_answers(port: int) -> bool:
    """Return whether a broker answers on a port of 127.0.0.1, with at least one registered."""
    try:
        with socket.create_connection((_HOST, port), timeout=_ANSWER_S_MAX) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            with connection.makefile("rb") as stream:
                answer = stream.read(_ANSWER.size)
    except OSError:
        return False
    if len(answer) < _ANSWER.size:
        return False
    _, correlation, brokers = _ANSWER.unpack(answer)
    return bool(correlation == _CORRELATION and brokers > 0)


def dynamodb_answers(port: int) -> bool:
    """Return whether DynamoDB Local answers on a port of 127.0.0.1.

    Any status is accepted: a call without a signature gets 400.
    """
    connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWER_S_MAX)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def free_ports(number: int) -> list[int]:
    """Return different free ports of 127.0.0.1.

    They are outside the ephemeral range, so that they are still free seconds later, or after a
    kill.
    """
    found: list[int] = []
    with ExitStack() as probes:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            probe = probes.enter_context(socket.socket())
            with suppress(OSError):  # taken
                probe.bind((_HOST, port))
                found.append(port)
            if len(found) == number:
                return found
    raise RuntimeError(f"not {number} free ports in {_PORTS}")
