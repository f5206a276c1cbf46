"""An endpoint in front of DynamoDB that goes wrong in the ways the real one does, on order.

It forwards every call to DynamoDB Local, which checks no signature, and applies the plan's
fault. It runs in a thread of its own, so that no test's event loop holds it up, and counts.
"""

import asyncio
import threading
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from random import Random
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.fault_proxy.apply_fault import Outcome, apply_fault
from tests.fault_proxy.faults import Fault, rejected
from tests.fault_proxy.late import Landing, LateCalls
from tests.fault_proxy.listening import Connection, Listening, Reader, Writer
from tests.fault_proxy.plans import Call, Plan, calm, can_apply
from tests.fault_proxy.wire import Answer, NoAnswer, Request, Upstream, read_request

#: Seconds in which nobody listens after a REFUSED: some of a client's waits fall into them.
REFUSED_S = 0.3
#: Seconds that an answer is held at most: longer than any client of ours waits.
SLOW_S_MAX = 30.0
#: Seconds that an order to the endpoint may take, its end included: it has no long work.
ORDER_S_MAX = 30.0
#: Bytes of bodies of the calls that are remembered.
CALLED_BYTES_MAX = 16 * 1024 * 1024
#: Where an outage is counted, which is of every operation.
EVERY = "*"

T = TypeVar("T")
#: Over one item that is put, in DynamoDB JSON.
Predicate = Callable[[dict[str, Any]], bool]


def has_body(begin: bytes) -> Predicate:
    """Of bundles with a message whose body begins so: a replay finds the same.

    begin: whole groups of three bytes, so that what follows does not change their base64.
    """
    assert len(begin) % 3 == 0
    encoded = b64encode(begin).decode()

    def has(item: dict[str, Any]) -> bool:
        messages = item.get("messages", {}).get("L", ())
        return any(message["M"]["b"]["B"].startswith(encoded) for message in messages)

    return has


class FaultyEndpoint:
    """Listens while it is open. All but `use` and `poison` return when they have taken effect.

    upstream: DynamoDB Local's address. seed: of what a plan leaves open (which items of a batch
    are left, how an answer is misshapen, ...), by the number of the call.

    injected: of each fault and operation. calls: of each operation, with and without a fault.
    called: the calls, as many as memory allows. faulted: the fault of a call, by its number.
    landed: of LATE.
    """

    def __init__(self, upstream: str, *, plan: Plan | None = None, seed: int = 0) -> None:
        self.seed = seed
        self.injected: Counter[tuple[Fault, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self.called: deque[Call] = deque()
        self.faulted: dict[int, Fault] = {}
        self._plan = plan or calm()
        self._poisonous: Predicate | None = None
        self._called_bytes = 0
        self._number = 0
        self._broken: list[BaseException] = []
        address = urlsplit(upstream)
        assert address.hostname is not None
        self._upstream = Upstream(address.hostname, address.port or 80)
        self._listening = Listening(self._serve)
        self._late = LateCalls(self._make)
        self._going = asyncio.Event()
        self._going.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty endpoint", daemon=True)

    @property
    def url(self) -> str:
        """The same as long as it is open, whoever listens."""
        return f"http://127.0.0.1:{self._listening.port}"

    @property
    def landed(self) -> Counter[Landing]:
        return self._late.landed

    def by_fault(self) -> dict[str, int]:
        """How often each fault was injected, for a line of figures."""
        counts: Counter[str] = Counter()
        for (fault, _), count in self.injected.items():
            counts[fault.value] += count
        return dict(sorted(counts.items()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._order(self._listening.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._order(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(ORDER_S_MAX)
            self._loop.close()
        if kind is None and self._broken:
            raise RuntimeError("the endpoint itself is broken") from self._broken[0]

    # ---- orders

    def use(self, plan: Plan) -> None:
        """From the next call on."""
        self._plan = plan

    def poison(self, predicate: Predicate | None) -> None:
        """A call that puts such an item is refused, a ValidationException. None: none is."""
        self._poisonous = predicate

    def outage(self) -> None:
        """Every connection is reset, and nobody listens until `restored`."""
        self.injected[Fault.REFUSED, EVERY] += 1
        self._order(self._listening.stop(until_s=None))

    def restored(self) -> None:
        self._order(self._listening.start())

    def hang(self) -> None:
        """Connections and calls are taken, none is answered until `resume`.

        Then they are made, also those whose client has given up, as by a process that stood still.
        """
        self.injected[Fault.SLOW, EVERY] += 1
        self._loop.call_soon_threadsafe(self._going.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._going.set)

    def flush(self) -> None:
        """What is held of LATE is made now."""
        self._order(self._late.flush())

    # ---- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _order(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ORDER_S_MAX)

    async def _end(self) -> None:
        """Nothing more is taken; what was taken lands."""
        await self._listening.close()
        await self._late.flush()
        await self._upstream.close()

    async def _serve(self, reader: Reader, writer: Writer, connection: Connection) -> None:
        """One connection. What goes wrong with it is the client's to bear."""
        try:
            with suppress(NoAnswer, ConnectionError):
                while request := await read_request(reader):
                    await self._going.wait()
                    outcome = await self._one(request, reader, writer)
                    if outcome.reset:
                        connection.reset()
                    if outcome.ends:
                        return
        except Exception as error:
            self._broken.append(error)
            raise

    async def _one(self, request: Request, reader: Reader, writer: Writer) -> Outcome:
        """One call."""
        call = self._take(request)
        fault, random = self._decide(call), Random(f"{self.seed}/{call.number}/how")
        if fault is Fault.LATE:
            self._late.hold(call, request, random)
        if fault is Fault.REFUSED:
            await self._listening.stop(until_s=REFUSED_S)
        outcome = await apply_fault(fault, call, request, lambda r: self._make(call, r), random)
        await _tell(outcome, reader, writer)
        if outcome.made:
            self._late.answered(call)
        return outcome

    def _take(self, request: Request) -> Call:
        self._number += 1
        call = Call(self._number, request.operation, request.body)
        self.calls[call.operation] += 1
        self.called.append(call)
        self._called_bytes += len(call.raw)
        while self._called_bytes > CALLED_BYTES_MAX and len(self.called) > 1:
            self._called_bytes -= len(self.called.popleft().raw)
        return call

    def _decide(self, call: Call) -> Fault | None:
        fault = self._plan(call)
        if fault is None or not can_apply(fault, call.operation):
            return None
        self._count(fault, call)
        return fault

    def _count(self, fault: Fault, call: Call) -> None:
        self.injected[fault, call.operation] += 1
        self.faulted[call.number] = fault

    async def _make(self, call: Call, request: Request) -> Answer:
        """DynamoDB's answer. Raises NoAnswer."""
        poisonous = self._poisonous
        if poisonous is not None and any(map(poisonous, call.puts())):
            self._count(Fault.REJECTED_ITEM, call)
            return rejected("Item size has exceeded the maximum allowed size")
        return await self._upstream.call(request)


async def _tell(outcome: Outcome, reader: Reader, writer: Writer) -> None:
    """The client sees the outcome."""
    if outcome.held:
        with suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(reader.read(1), SLOW_S_MAX)
    elif outcome.answer is not None:
        writer.write(outcome.answer.encode()[: outcome.sent_max])
        await writer.drain()


def assert_met(endpoint: FaultyEndpoint, faults: Iterable[Fault | tuple[Fault, str]]) -> None:
    """Every fault that was asked for was injected, on any operation or on the one given."""
    met = set(endpoint.injected) | {fault for fault, _ in endpoint.injected}
    missed = [fault for fault in faults if fault not in met]
    assert not missed, (
        f"never met: {', '.join(map(str, missed))} (seed {endpoint.seed}; injected:"
        f" {endpoint.by_fault()} in {endpoint.calls.total()} calls)"
    )
