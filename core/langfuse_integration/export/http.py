"""HTTP connections to Langfuse and to other destinations: kept alive, one request after the other.

Built on http.client, not on httpx or urllib3: their pools, retries and redirects are not needed here, and they cost
3.5 and 2 times the CPU per request, and 11 and 4 times for the import, which the application's threads feel.
Proxies and certificates are found as these libraries find them: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE,
REQUESTS_CA_BUNDLE, certifi.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from urllib.parse import urlsplit

from ..destinations import OtlpDestination
from ..encoding import otlp
from ..internals import standard_variables
from ..internals.faults import warn_once
from ..settings import Settings
from .exchange import UNTRUSTED, HttpResponse, Unreachable
from .proxies import proxy_of

# http.client would import this with the first connection, on another thread, perhaps during a fork.
import_module("encodings.idna")

SDK_VERSION = "4.7.0"
"""The version of Langfuse's SDK whose form the rows have: metadata is plain text, which SDK 5 writes as JSON.

From 4.7.0 on, Langfuse knows that rows say which of them are roots, and its Tracing page lists those by default.
"""
USER_AGENT = "langfuse-integration"
CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
MAX_RESPONSE_BYTES = 1024 * 1024
KEY_LENGTH = 8
"""Characters of the shortest text that is kept out of logs as a key."""
_CHUNK_BYTES = 128 * 1024
"""Bytes per call of zlib: a larger chunk would hold the interpreter lock for longer."""


class KeptConnection:
    """A connection to one server that is kept alive. For one thread.

    Args:
        base_url: what paths are appended to.
        address: the URL as it may be shown.
        headers: sent with every request.
    """

    def __init__(self, base_url: str, address: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._base_url = base_url
        self.address = address
        self._timeout_s = timeout_s
        self._headers = headers
        if base_url.startswith("https:"):
            _certificates()
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Send a request with the headers of this server; raises Unreachable.

        A kept connection that the server has closed is opened again, once: the server read nothing of the request.
        """
        url = self._base_url + path
        kept = self._connection is not None
        connection = self._connected()
        try:
            return _exchange(connection, method, _target(url, connection), body, {**self._headers, **headers})
        except Unreachable as error:
            self.close()
            if not (
                kept
                and isinstance(error.__cause__, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError))
            ):
                raise
        connection = self._connected()
        try:
            return _exchange(connection, method, _target(url, connection), body, {**self._headers, **headers})
        except Unreachable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = _connection(self._base_url, self._timeout_s)
        return self._connection

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.address}>"


class LangfuseHttp(KeptConnection):
    """Sends requests to one Langfuse project. For one thread."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
        token = base64.b64encode(f"{settings.public_key or ''}:{secret}".encode()).decode()
        headers = {
            "Authorization": f"Basic {token}",
            "User-Agent": USER_AGENT,
            "x-langfuse-sdk-name": "python",
            "x-langfuse-sdk-version": SDK_VERSION,
            "x-langfuse-public-key": settings.public_key or "",
            "x-langfuse-ingestion-version": "4",
        }
        super().__init__(settings.base_url, settings.address, settings.timeout_s, headers)
        self._traces_path = standard_variables.export_path() or "/api/public/otel/v1/traces"
        # Langfuse's own headers take precedence over those configured for OTLP exporters.
        ours = {name.lower() for name in headers}
        self._export_headers = {
            name: value for name, value in standard_variables.export_headers().items() if name.lower() not in ours
        }
        self._compresses = standard_variables.compresses()
        self._keys = _keys_in({"Authorization": token, "secret": secret, **self._export_headers})

    def spans(self, body: bytes) -> HttpResponse:
        """Send OTLP trace requests without the exact form of answers, compressed; raises Unreachable."""
        try:
            body = otlp.without_exact(body)
        except ValueError as error:  # as the server would say; the batch is divided then, and the row set aside
            return HttpResponse(400, {}, str(error).encode())
        headers = {**self._export_headers, "Content-Type": "application/x-protobuf"}
        if self._compresses:
            headers["Content-Encoding"] = "gzip"
            body = compressed(body)
        return _without(self._keys, self.send("POST", self._traces_path, body, headers))

    def json(self, method: str, path: str, body: bytes) -> HttpResponse:
        """Send JSON to Langfuse's API; raises Unreachable."""
        return _without(self._keys, self.send(method, path, body, {"Content-Type": "application/json"}))

    def put(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Send *body* without keys to an upload address that Langfuse returned; raises Unreachable."""
        connection = _connection(url, self._timeout_s)
        try:
            return _exchange(connection, "PUT", _target(url, connection), body, headers)
        finally:
            connection.close()


class OtlpHttp(KeptConnection):
    """Sends traces to one destination. For one thread."""

    def __init__(self, destination: OtlpDestination, timeout_s: float) -> None:
        parts = urlsplit(destination.url)
        self._target = destination.url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        headers = {
            "User-Agent": USER_AGENT,
            **destination.headers,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
        }
        super().__init__(f"{parts.scheme}://{parts.netloc}", destination.address, timeout_s, headers)
        self._keys = _keys_in(destination.headers)

    def spans(self, body: bytes) -> HttpResponse:
        """Send an OTLP trace request, compressed; raises Unreachable."""
        return _without(self._keys, self.send("POST", self._target, compressed(body), {}))


def _keys_in(headers: Mapping[str, str]) -> list[bytes]:
    """Return what may be a key: the values of headers, and their last words, the longest first."""
    texts = {
        text for value in headers.values() for text in (value, value.rpartition(" ")[2]) if len(text) >= KEY_LENGTH
    }
    return sorted((text.encode() for text in texts), key=len, reverse=True)


def _without(keys: list[bytes], response: HttpResponse) -> HttpResponse:
    """Return a response in whose body no key stands: a server's message is logged and kept with the row."""
    body = response.body
    for key in keys:
        body = body.replace(key, b"*" * len(key))
    return response._replace(body=body)


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes, headers: Mapping[str, str]
) -> HttpResponse:
    try:
        connection.request(method, target, body, {**headers, **getattr(connection, "proxy_headers", {})})
        response = connection.getresponse()
        response_body = response.read(MAX_RESPONSE_BYTES)
        if response.length:  # the unread rest would be read as the next response
            connection.close()
        return HttpResponse(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response_body
        )
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Unreachable(reason_of(error)) from error
    except ValueError:  # without the cause: its message shows the header, which may be a key
        connection.close()
        raise Unreachable("a key or the address holds characters that HTTP forbids") from None


def reason_of(error: Exception) -> str:
    """Return the reason why a request got no response."""
    text = str(error) or type(error).__name__
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved: {text}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{UNTRUSTED} ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {text}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return f"{type(error).__name__}: {text}"


def compressed(body: bytes) -> bytes:
    """Return *body* as gzip, at the fastest level: spans are repetitive text."""
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    view = memoryview(body)
    pieces = [pack.compress(view[start : start + _CHUNK_BYTES]) for start in range(0, len(view), _CHUNK_BYTES)]
    return b"".join((*pieces, pack.flush()))


def _connection(url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    proxy = proxy_of(parts.scheme, host)
    if proxy is None:
        return (
            http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=_certificates())
            if secure
            else http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        )
    via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    headers = _proxy_headers(via.username, via.password)
    if secure:
        tunnel = http.client.HTTPSConnection(via.hostname or "", via.port, timeout=timeout_s, context=_certificates())
        tunnel.set_tunnel(host, parts.port or 443, headers)
        return tunnel
    plain = _Proxied(via.hostname or "", via.port, timeout=timeout_s)
    plain.proxy_headers = headers
    return plain


class _Proxied(http.client.HTTPConnection):
    """A plain connection to a proxy: requests name the whole address."""

    proxy_headers: Mapping[str, str] = {}


def _target(url: str, connection: http.client.HTTPConnection) -> str:
    if isinstance(connection, _Proxied):
        return url
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    return {"Proxy-Authorization": "Basic " + base64.b64encode(f"{user}:{password or ''}".encode()).decode()}


@cache
def _certificates() -> ssl.SSLContext:
    """Return a context that trusts the system and certifi; OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR itself."""
    for variable in CA_VARIABLES:
        file = os.environ.get(variable)
        if file and not os.path.exists(file):  # noqa: PTH110
            warn_once(
                f"certificates {variable}",
                "%s names %s, which does not exist: certificates are checked without it. Correct it, or remove it",
                variable,
                file,
            )
    context = ssl.create_default_context()
    with suppress(OSError, ImportError):
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle is None:
            import certifi

            bundle = certifi.where()
        context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})  # noqa: PTH112
    return context
