"""A port on loopback that can refuse connections for a while, for proxies that do harm."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

__all__ = ["LOOPBACK", "Door"]

LOOPBACK = "127.0.0.1"
_BACKLOG = 256


class Door(ABC):
    """Accepts connections, each in a thread; ``close`` ends them all."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self._lock = threading.RLock()
        self._threads: set[threading.Thread] = set()
        self._sockets: set[socket.socket] = set()
        """Of connections that are open; a proxy may add its own."""
        self._listener: socket.socket | None = None
        self._reserved = _bound(0)
        """Bound, never listening: while connections are refused, nobody else gets the port."""
        self.port: int = self._reserved.getsockname()[1]
        self.accept()

    def accept(self) -> None:
        """Accept connections, if they are refused."""
        with self._lock:
            if self._listener is None:
                self._listener = _bound(self.port)
                self._listener.listen(_BACKLOG)
                self._start(self._listen, self._listener)

    def refuse(self) -> None:
        """Refuse connections, and end all that are open."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):  # it may have gone already
                listener.shutdown(socket.SHUT_RDWR)  # unlike close, this wakes the thread that waits for it
        self.reset()

    def close(self) -> None:
        """Close everything, and wait until all threads have ended."""
        self.closing.set()
        self.refuse()
        while self._threads:
            with self._lock:
                threads = list(self._threads)
            for thread in threads:
                thread.join()
            self._threads.difference_update(threads)
        self._reserved.close()

    @abstractmethod
    def reset(self) -> None:
        """End all connections that are open."""

    @abstractmethod
    def serve(self, client: socket.socket) -> None:
        """One connection, to its end."""

    def _start(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(argument,), name=f"proxy {self.port}", daemon=True)
        self._threads = {each for each in self._threads if each.is_alive()} | {thread}
        thread.start()

    def _listen(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with self._lock:
                    if self._listener is not listener:
                        client.close()
                        return
                    self._sockets.add(client)
                    self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            self.serve(client)
        finally:
            with self._lock:
                self._sockets.discard(client)
            client.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((LOOPBACK, port))
    return made
