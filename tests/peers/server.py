"""LocalServer: a threaded HTTP/1.1 server on a port of its own, which can also stop listening and come back.

The peers that speak HTTP derive from it and only say what a request is answered with. It keeps connections alive, reads
chunked and compressed bodies, streams, and drops a connection on demand.
"""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
import time
import zlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came; header names are in lower case, *size_bytes* is the body's size on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    size_bytes: int
    at_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with: a *body*, or a *stream* of pieces that go out as they are made.

    With *cut_after_bytes* the head promises the whole body and the connection drops after that many bytes of it.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: Iterable[bytes] | None = None
    cut_after_bytes: int | None = None


class Cut(Exception):
    """Raised by `answer`, or by the iterator of a stream: drop the connection here, without another byte."""


class LocalServer:
    """An HTTP server on 127.0.0.1 that listens, in threads of its own, from its making until `close`."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._listener = _Listener(("127.0.0.1", 0), self, listen=True)
        self.port: int = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        """How many connections were ever accepted: one, as long as a client keeps its connection alive."""

    def answer(self, request: Request) -> Answer:
        """Return what *request* is answered with, or raise Cut. Called in the thread of the connection."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Stop listening and reset what is connected: from here on a connection is refused. The port stays ours."""
        if self._listener.listening:
            self._listener.close()
            self._listener = _Listener(("127.0.0.1", self.port), self, listen=False)

    def listen(self) -> None:
        """Listen again on the same port after `refuse`."""
        self._listener.listen()

    @contextmanager
    def refusing(self) -> Generator[None, None, None]:
        """Refuse every connection inside the block."""
        self.refuse()
        try:
            yield
        finally:
            self.listen()

    def pause(self, seconds: float) -> None:
        """Wait for *seconds*; raises Cut when the server is closed meanwhile."""
        if self._closed.wait(seconds):
            raise Cut

    def wait(self, event: threading.Event) -> None:
        """Wait until a test sets *event*; raises Cut when the server is closed before."""
        while not event.wait(0.01):
            self.pause(0)

    def close(self) -> None:
        """Stop listening, drop every connection and wait for the threads to end."""
        self._closed.set()
        self._listener.close()
        self._listener.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Listener(http.server.HTTPServer):
    """The listening socket of a LocalServer, the connections it accepted and their threads.

    Bound without listening it holds the port while connections to it are refused.
    """

    address_family = socket.AF_INET
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], peer: LocalServer, *, listen: bool) -> None:
        super().__init__(address, _Connection, bind_and_activate=False)
        self.server_bind()
        self.peer = peer
        self.listening = False
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True, name="peer-accept")
        if listen:
            self.listen()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def listen(self) -> None:
        if not self.listening:
            self.listening = True
            self.server_activate()
            self._accepting.start()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        thread = threading.Thread(target=self._converse, args=(request,), daemon=True, name="peer-connection")
        with self._guard:
            self._connections[request] = thread
        self.peer.connections += 1
        thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):  # the client may go away, or we drop it
                _Connection(connection, ("127.0.0.1", 0), self)
        finally:
            with self._guard:
                self._connections.pop(connection, None)
            self.shutdown_request(connection)

    def close(self) -> None:
        if self.listening:
            self.listening = False
            self.shutdown()
            self._accepting.join()
        self.server_close()
        with self._guard:
            open_now = dict(self._connections)
        for connection in open_now:
            with suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        with self._guard:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join(60)


class _Connection(http.server.BaseHTTPRequestHandler):
    """One connection: reads requests, asks the peer for answers, writes them."""

    protocol_version = "HTTP/1.1"
    server_version = "peer"
    sys_version = ""
    wbufsize = -1  # head and body leave in one segment, which keeps delayed acknowledgements out of measured times
    disable_nagle_algorithm = True

    @property
    def _peer(self) -> LocalServer:
        assert isinstance(self.server, _Listener)
        return self.server.peer

    def _serve(self) -> None:
        raw = self._read_body()
        if raw is None:
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = _decompressed(raw, headers.get("content-encoding", ""))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._write(Answer(400, repr(error).encode()))
            return
        try:
            self._write(self._peer.answer(Request(self.command, path, query, headers, body, len(raw))))
        except (Cut, ConnectionError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _read_body(self) -> bytes | None:
        """Return the body as it is on the wire; None if the client left in the middle of it."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            return body if len(body) == length else None
        pieces: list[bytes] = []
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
            if not size:
                return b"".join(pieces)
        return None

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.stream is None:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut_after_bytes])
            self.wfile.flush()
            if answer.cut_after_bytes is not None:
                raise Cut
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for piece in answer.stream:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
        """Say nothing: a test prints what it needs."""


def _decompressed(raw: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(raw)
    if encoding == "deflate":
        return zlib.decompress(raw)
    return raw
