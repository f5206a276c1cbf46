"""Whether a service answers, in its own protocol.

A port alone says nothing: Docker's proxy takes connections before anybody listens behind it, and a
broker listens before it takes part.
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
#: Below what the kernel gives away by itself: from 32768 on with Linux, from 49152 on with others.
_PORTS = range(20_000, 32_768)
#: Seconds that one answer may take; a service that is slower is asked again.
_ANSWER_S_MAX = 2.0
#: Seconds between two looks at a condition.
_POLL_S = 0.05

#: Metadata, version 1, of no topics: the smallest question whose answer counts the brokers.
_METADATA, _METADATA_VERSION = 3, 1
#: Comes back in the answer: by it an answer of something that is no broker is told.
_CORRELATION = 0x706F7374
_REQUEST = struct.pack(">hhihi", _METADATA, _METADATA_VERSION, _CORRELATION, -1, 0)
#: Size, correlation id, number of brokers: the first 12 bytes of the answer.
_ANSWER = struct.Struct(">iii")


class Watched(Protocol):
    """What is waited for: does it still run, and what did it say last?"""

    @property
    def alive(self) -> bool: ...
    def tail(self) -> str: ...


def wait_until(
    condition: Callable[[], bool], *, what: str, seconds: float, child: Watched | None = None
) -> None:
    """Wait for a condition. Raises RuntimeError, with the child's last lines, when it fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        if child is not None and not child.alive:
            raise RuntimeError(f"{what}: the process ended:\n{child.tail()}")
        if time.monotonic() > deadline:
            tail = f":\n{child.tail()}" if child is not None else ""
            raise RuntimeError(f"{what}: not within {seconds:.0f} s{tail}")
        time.sleep(_POLL_S)


def kafka_answers(port: int) -> bool:
    """Whether a broker answers on a port of 127.0.0.1, and counts at least one as taking part."""
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
    """Whether DynamoDB Local answers on a port of 127.0.0.1.

    Any status will do, and 400 is the one to a call without a signature.
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
    """Different ports of 127.0.0.1 that were free a moment ago.

    Outside of the range from which the kernel serves whoever asks for any port: who binds seconds
    later, or again after a kill, finds it free.
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
