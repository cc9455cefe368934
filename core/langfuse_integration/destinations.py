"""Destinations beside or without Langfuse: any server that takes OpenTelemetry's traces over HTTP.

    configure(destinations=[OtlpDestination("http://localhost:6006", conventions=["openinference"])])

A destination gets every observation, with the attributes of the conventions that it reads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from urllib.parse import unquote, urlsplit

from .errors import InvalidSettings

Convention = Literal["genai", "openinference"]
"""OpenTelemetry's conventions for generative AI, and OpenInference's, which Phoenix reads."""
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
DestinationCapture = Literal["full", "truncated", "none", "metrics"]
CAPTURES: tuple[DestinationCapture, ...] = get_args(DestinationCapture)
"""What may be captured, the strictest last."""
TRACES_PATH = "/v1/traces"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpDestination:
    """A server that takes OTLP traces as protobuf over HTTP.

    Args:
        url: the base URL, or one that ends in `/v1/traces`.
        headers: sent with every request, such as the server's key; never shown.
        conventions: what is added to the rows for this server; empty sends them as Langfuse gets them.
        capture: what of the contents this server gets, as the setting `capture` says it; the stricter of both counts.

    Raises:
        InvalidSettings: a value makes no sense.
    """

    url: str = field(kw_only=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    conventions: Iterable[str] = CONVENTIONS
    capture: DestinationCapture = "full"

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked("the url of OtlpDestination", traces_url, self.url))
        object.__setattr__(self, "headers", _checked("headers of OtlpDestination", checked_headers, self.headers))
        names = [self.conventions] if isinstance(self.conventions, str) else list(self.conventions)
        object.__setattr__(
            self, "conventions", _checked("conventions of OtlpDestination", conventions_of, ",".join(names))
        )
        if self.capture not in CAPTURES:
            raise InvalidSettings(
                "capture of OtlpDestination", f"is not usable: {self.capture!r} is none of its values"
            )

    @property
    def fingerprint(self) -> str:
        """A text that tells destinations apart and reveals no header: the URL, the headers and what is captured.

        What waits for one destination is never sent to another.
        """
        parts = [self.url, self.capture, *(f"{name.lower()}={value}" for name, value in sorted(self.headers.items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def server(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The URL and the headers: two destinations of one configuration differ in these."""
        return self.url, tuple(sorted(self.headers.items()))

    @property
    def address(self) -> str:
        """The URL without its query, as it may be shown."""
        return self.url.partition("?")[0]


def distinct(destinations: tuple[OtlpDestination, ...]) -> tuple[OtlpDestination, ...]:
    """Return *destinations*; raises ValueError when one server is named twice: it would get everything twice."""
    servers = [destination.server for destination in destinations]
    for destination in destinations:
        if servers.count(destination.server) > 1:
            raise ValueError(f"{destination.address} is named twice")
    return destinations


def _checked(what: str, check: Callable[[Any], object], value: object) -> object:
    try:
        return check(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidSettings(what, f"is not usable: {error}") from None


def traces_url(url: str) -> str:
    """Return the URL that traces are sent to; raises ValueError for what is no URL."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(url):
        raise ValueError(f"{_shown(url)!r} is no URL such as http://localhost:4318")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a user or a password: send them in a header")
    path = parts.path.rstrip("/")
    if not path.endswith(TRACES_PATH):
        path += TRACES_PATH
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


def _has_port(url: str) -> bool:
    """Return whether the port is a number that a port can have, or left out."""
    try:
        return (urlsplit(url.strip()).port or 1) > 0
    except ValueError:
        return False


def _shown(url: str) -> str:
    """Return *url* as it may stand in a message: without user, password and query."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])[:100]


def headers_of(text: str) -> dict[str, str]:
    """Return the headers in `name=value,name=value`, percent-encoded.

    Raises:
        ValueError: an entry is none; no part of it is shown, since a key may stand where its name was forgotten.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    headers: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        name, sign, value = (part.strip() for part in entry.partition("="))
        if not sign or not value:
            raise ValueError(f"header {number} has no value: write name=value,name=value")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"header {number} has no name that HTTP allows: write name=value,name=value")
        headers[name] = unquote(value)
    return checked_headers(headers)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers*; raises ValueError for a name or a value that HTTP forbids, without showing the value."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"the header {name!r} has no value")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of the header {name!r} has characters that HTTP forbids")
    return dict(headers)


def conventions_of(text: str) -> tuple[Convention, ...]:
    """Return the conventions in a list such as `genai,openinference`; `both` is both, `none` none.

    Raises:
        ValueError: one is unknown.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    chosen: list[str] = []
    for name in names:
        if name not in (*CONVENTIONS, "both", "none"):
            raise ValueError(f"there is no convention {name!r}: write {' or '.join(CONVENTIONS)}, both or none")
        chosen += CONVENTIONS if name == "both" else () if name == "none" else (name,)
    return cast("tuple[Convention, ...]", tuple(name for name in CONVENTIONS if name in chosen))
