"""A proxy on the loopback that stands between a client and an HTTP server and misbehaves as it is told.

::

    with Proxy(server.address) as proxy:
        client = MlflowClient(proxy.address)
        proxy.behave(CutResponse(), path="runs/create", times=1)
        client.create_run(experiment_id)  # raises, though the server has the run
        assert proxy.count(CutResponse) == 1

It speaks HTTP/1.1, keeps connections open, passes bytes on as they are, and decides anew for every request. One thread
runs it all; nothing in it waits but for the client, the server, or a delay that was asked for.
"""

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from faults.http_messages import Message, part

_HOST = "127.0.0.1"
_WRITES = ("POST", "PUT", "PATCH")
_PATIENCE_S = 120.0  # only for what will never happen: a test that waits in vain fails instead of hanging


@dataclass(frozen=True)
class Pass:
    """Hand the request to the server and its answer to the client."""


@dataclass(frozen=True)
class Refuse:
    """Close the connection unanswered, the server knowing nothing.

    Without ``path`` and ``times`` nothing even listens any more, and connections that were open are closed.
    """


@dataclass(frozen=True)
class Delay:
    """Let the server do its work, and hold its answer back: ``seconds``, or until :meth:`Proxy.release`."""

    seconds: float | None = None


@dataclass(frozen=True)
class Error:
    """Answer with ``status`` in MLflow's form, the server knowing nothing."""

    status: int = 503


@dataclass(frozen=True)
class CutRequest:
    """Hand ``share`` of the request's bytes to the server, then close both connections."""

    share: float = 0.5


@dataclass(frozen=True)
class CutResponse:
    """Let the server do its work, hand ``share`` of its answer's bytes to the client, then close the connection."""

    share: float = 0.0


@dataclass(frozen=True)
class Duplicate:
    """Hand a POST, PUT or PATCH to the server twice, one after the other, and one of its answers to the client."""

    answer: Literal["first", "second"] = "second"


Behaviour = Pass | Refuse | Delay | Error | CutRequest | CutResponse | Duplicate


@dataclass(frozen=True)
class Scripted:
    """A behaviour per request, drawn with ``weights``; the same ``seed`` draws the same ones in the same order."""

    seed: int
    weights: Mapping[Behaviour, float]


@dataclass
class Exchange:
    """One request, what was done to it, and the status of each of the server's answers to it."""

    method: str
    path: str
    behaviour: Behaviour
    answers: list[int] = field(default_factory=list)


class Proxy:
    """A proxy to the server at ``server``, such as ``http://127.0.0.1:5000``; it runs while its context is open.

    Attributes:
        address: where it listens; the same all its life.
        exchanges: every request that it saw, in order.
    """

    def __init__(self, server: str) -> None:
        target = urlsplit(server)
        self._server = (target.hostname or _HOST, target.port or 80)
        # Bound but never listening: keeps the port ours while the proxy refuses.
        self._reservation = _bound((_HOST, 0))
        self._place: tuple[str, int] = self._reservation.getsockname()
        self.address = f"http://{_HOST}:{self._place[1]}"
        self.exchanges: list[Exchange] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.address}")
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._gate = asyncio.Event()
        self._choose: Callable[[], Behaviour] = Pass
        self._only, self._left = "", -1

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reservation.close()

    def behave(self, rule: Behaviour | Scripted, *, path: str = "", times: int | None = None) -> None:
        """From the next request on do ``rule``, to requests with ``path`` in theirs; after ``times`` pass again."""
        self._run(self._behave(rule, path, times))

    def release(self) -> None:
        """Let every answer go that is being held back now."""
        self._run(self._open_gate())

    def count(self, *behaviours: type[Behaviour], path: str = "") -> int:
        """How many requests with ``path`` in theirs it did one of ``behaviours`` to."""
        return sum(isinstance(each.behaviour, behaviours) and path in each.path for each in tuple(self.exchanges))

    def wait_until(self, reached: Callable[[Sequence[Exchange]], bool]) -> None:
        """Wait until ``reached`` holds of the exchanges, looking whenever one begins or the server answers."""
        with self._changed:
            if not self._changed.wait_for(lambda: reached(self.exchanges), _PATIENCE_S):
                raise TimeoutError(f"this did not happen within {_PATIENCE_S:.0f} s; seen: {self.exchanges}")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _behave(self, rule: Behaviour | Scripted, path: str, times: int | None) -> None:
        self._only, self._left = path, -1 if times is None else times
        if isinstance(rule, Scripted):
            draw, kinds, weights = random.Random(rule.seed), list(rule.weights), list(rule.weights.values())
            self._choose = lambda: draw.choices(kinds, weights)[0]
        else:
            self._choose = lambda: rule
        if isinstance(rule, Refuse) and not path and times is None:
            await self._hang_up()
        elif self._listener is None:
            await self._listen()

    async def _open_gate(self) -> None:
        self._gate.set()
        self._gate = asyncio.Event()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, sock=_bound(self._place))

    async def _hang_up(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        while open_ones := dict(self._connections):
            for task, writer in open_ones.items():
                writer.transport.abort()
                task.cancel()
            await asyncio.wait(open_ones)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        task = asyncio.current_task()
        assert task is not None
        if self._listener is None:  # it hung up since this connection was made
            writer.transport.abort()
            return
        self._connections[task] = writer
        try:
            # asyncio.CancelledError: the proxy hangs up; the others: the client or the server did.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._handle(await Message.read(reader), writer):
                    await writer.drain()
        finally:
            del self._connections[task]
            writer.close()

    async def _handle(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        """Do to ``request`` what is to be done to it; tells whether the connection stays open."""
        method, path, _ = request.start.split(" ", 2)
        exchange = Exchange(method, path, self._decide(method, path))
        with self._changed:
            self.exchanges.append(exchange)
            self._changed.notify_all()
        match exchange.behaviour:
            case Refuse():
                return False
            case Error(status):
                writer.write(_own_answer(status))
                return True
            case CutRequest(share):
                _, to_server = await asyncio.open_connection(*self._server)
                to_server.write(part(request.raw, share))
                to_server.close()
                await to_server.wait_closed()
                return False
            case CutResponse(share):
                answer = await self._ask(request, exchange)
                writer.write(part(answer.raw, share))
                return False
            case Duplicate(which):
                first = await self._ask(request, exchange)
                second = await self._ask(request, exchange)
                answer = first if which == "first" else second
            case Delay(seconds):
                gate = self._gate
                answer = await self._ask(request, exchange)
                with suppress(TimeoutError):
                    await asyncio.wait_for(gate.wait(), seconds)
            case Pass():
                answer = await self._ask(request, exchange)
        writer.write(answer.raw)
        return answer.says_where_it_ends

    def _decide(self, method: str, path: str) -> Behaviour:
        if self._only not in path or self._left == 0:
            return Pass()
        chosen = self._choose()
        if isinstance(chosen, Duplicate) and method not in _WRITES:
            return Pass()
        self._left -= 1
        return chosen

    async def _ask(self, request: Message, exchange: Exchange) -> Message:
        """The server's answer, whole, on a connection of its own."""
        reader, writer = await asyncio.open_connection(*self._server)
        try:
            writer.write(request.with_header("Connection", "close").raw)
            raw = await reader.read()
        finally:
            writer.close()
        head, separator, body = raw.partition(b"\r\n\r\n")
        if not separator:
            raise ConnectionResetError("the server closed the connection unanswered")
        answer = Message(head + separator, body).with_header("Connection", None)
        with self._changed:
            exchange.answers.append(int(answer.start.split(" ")[1]))
            self._changed.notify_all()
        return answer


def _own_answer(status: int) -> bytes:
    body = b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the proxy was told to say so"}'
    head = f"HTTP/1.1 {status} Told To\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _bound(place: tuple[str, int]) -> socket.socket:
    """A socket bound to a place that others of ours may be bound to as well, as long as one at most listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(place)
    return bound
