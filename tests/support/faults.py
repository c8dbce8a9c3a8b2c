"""A proxy on the loopback that does to HTTP what networks, proxies and servers do to it.

Every request goes to the upstream server and back, unless the plan says otherwise::

    with FaultProxy("127.0.0.1", 5984) as proxy:
        proxy.plan(lambda method, path, number: lose_reply() if method == "POST" and number == 3 else None)
        ...  # talk to proxy.url
        assert [seen.status for seen in proxy.seen] == [200, 201, None]

Requests are numbered from 1, over all connections, in the order in which they came; each ``plan`` begins at 1 again.
A path is what the request line has, with its query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from support.fault_proxy import Exchange, Fault, FaultProxy, Reply, Rule, Seen, Stop

__all__ = [
    "Fault",
    "FaultProxy",
    "Rule",
    "Seen",
    "cut",
    "delay",
    "hang",
    "lose_reply",
    "refuse",
    "reset_before",
    "rewrite",
    "slow",
    "status",
]


class _Refuse(Fault):
    def answer(self, exchange: Exchange) -> Reply:
        exchange.proxy.refuse()
        raise Stop(resets=True)


@dataclass(frozen=True)
class _Hang(Fault):
    seconds: float

    def answer(self, exchange: Exchange) -> Reply:
        exchange.wait(self.seconds)
        raise Stop(resets=False)


class _ResetBefore(Fault):
    def answer(self, exchange: Exchange) -> Reply:
        raise Stop(resets=True)


class _LoseReply(Fault):
    def answer(self, exchange: Exchange) -> Reply:
        exchange.forward()
        raise Stop(resets=True)


@dataclass(frozen=True)
class _Delay(Fault):
    seconds: float

    def answer(self, exchange: Exchange) -> Reply:
        exchange.wait(self.seconds)
        return exchange.forward()


@dataclass(frozen=True)
class _Slow(Fault):
    bytes_per_second: float

    def send(self, exchange: Exchange, reply: Reply) -> None:
        data = reply.head() + reply.body
        step = max(1, int(self.bytes_per_second / 50))
        for at in range(0, len(data), step):
            exchange.client.sendall(data[at : at + step])
            exchange.wait(step / self.bytes_per_second)


@dataclass(frozen=True)
class _Cut(Fault):
    after_bytes: int
    resets: bool

    def send(self, exchange: Exchange, reply: Reply) -> None:
        exchange.client.sendall(reply.head() + reply.body[: self.after_bytes])
        raise Stop(resets=self.resets)


@dataclass(frozen=True)
class _Status(Fault):
    reply: Reply

    def answer(self, exchange: Exchange) -> Reply:
        return self.reply

    def send(self, exchange: Exchange, reply: Reply) -> None:
        super().send(exchange, reply)
        if reply.length is not None:
            raise Stop(resets=False)


@dataclass(frozen=True)
class _Rewrite(Fault):
    function: Callable[[bytes], bytes]

    def answer(self, exchange: Exchange) -> Reply:
        reply = exchange.forward(plain=True)
        return replace(reply, body=self.function(reply.body))


def refuse() -> Fault:
    """From now on connections are refused, and all open ones end, until ``proxy.accept()``."""
    return _Refuse()


def hang(seconds: float = math.inf) -> Fault:
    """Never answer; after so many seconds the connection is closed."""
    return _Hang(seconds)


def reset_before() -> Fault:
    """Reset the connection; the upstream server never sees the request."""
    return _ResetBefore()


def lose_reply() -> Fault:
    """The upstream server executes the request; then the connection is reset."""
    return _LoseReply()


def delay(seconds: float) -> Fault:
    """The request reaches the upstream server so much later."""
    return _Delay(seconds)


def slow(bytes_per_second: float) -> Fault:
    """The reply trickles in, fifty times a second or, up to 50 bytes a second, byte by byte."""
    return _Slow(bytes_per_second)


def cut(after_bytes: int, *, resets: bool = False) -> Fault:
    """So much of the reply's body arrives; then the connection is closed, or reset."""
    return _Cut(after_bytes, resets)


def status(
    code: int,
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    length: int | None = None,
) -> Fault:
    """This answer; the upstream server never sees the request. ``length`` is a lie about the body's length."""
    given = [("Content-Type", content_type), *(headers or {}).items()]
    return _Status(Reply(status=code, headers=given, body=body, length=length))


def rewrite(function: Callable[[bytes], bytes]) -> Fault:
    """The upstream server's reply with another body."""
    return _Rewrite(function)
