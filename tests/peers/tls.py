"""TlsFront: TLS in front of a local server, with a certificate that the client trusts or one that it does not."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class TlsFront:
    """Listens on a port of its own, and passes on to *port* what comes over TLS.

    Attributes:
        trusted: False shows a certificate that is not in `authority`, to connections from then on; those that are
            open are dropped.
        authority: what a client has to trust, for SSL_CERT_FILE.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self._behind = port
        self.authority, self._good = certified(folder, "good")
        _, self._bad = certified(folder, "bad")
        self._trusted = True
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def trusted(self) -> bool:
        """Which certificate is shown."""
        return self._trusted

    @trusted.setter
    def trusted(self, value: bool) -> None:
        self._trusted = value
        self._drop()

    def close(self) -> None:
        """Stop listening, and drop what is open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._drop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(accepted,), daemon=True).start()

    def _pass_on(self, accepted: socket.socket) -> None:
        try:
            with (
                accepted,
                (self._good if self._trusted else self._bad).wrap_socket(accepted, server_side=True) as front,
                socket.create_connection(("127.0.0.1", self._behind)) as back,
            ):
                with self._lock:
                    self._open |= {front, back}
                answers = threading.Thread(target=_pump, args=(back, front), daemon=True)
                answers.start()
                _pump(front, back)
                answers.join()
                with self._lock:
                    self._open -= {front, back}
        except OSError:  # the client does not trust it, or is gone
            pass


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def certified(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1 that signs itself; return its file, and a server's context with it."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    made = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
