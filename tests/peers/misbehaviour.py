"""Misbehaviour: what a receiver may do with a request for traces instead of accepting it.

A behaviour is a function of the Exchange; it answers, or raises Cut, or lets `exchange.accept()` do the usual.

    receiver.script(status(503), status(429, retry_after_s=1), lost_answer())   # one for each of the next requests
    receiver.always(poison("bad span"))                                         # for every further one
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from peers.exchange import Exchange
from peers.langfuse_api import error
from peers.server import Answer, Cut

Behaviour: TypeAlias = Callable[[Exchange], Answer]


def accepted(exchange: Exchange) -> Answer:
    """Behave well: in a script, for the requests between the others."""
    return exchange.accept()


def status(code: int, *, retry_after_s: int | str | None = None) -> Behaviour:
    """Answer with *code* and keep nothing; *retry_after_s* may be an HTTP date too."""
    headers = {} if retry_after_s is None else {"Retry_After": str(retry_after_s)}
    return lambda exchange: error(code, f"scripted {code}", **headers)


def redirect(url: str, code: int = 308) -> Behaviour:
    """Answer that the endpoint is at *url*; keep nothing."""
    return lambda exchange: error(code, "moved", Location=url)


def hang(seconds: float = 3600) -> Behaviour:
    """Say nothing for *seconds*, then drop the connection; keep nothing."""

    def behave(exchange: Exchange) -> Answer:
        exchange.pause(seconds)
        raise Cut

    return behave


def slow(seconds: float) -> Behaviour:
    """Accept after *seconds*."""

    def behave(exchange: Exchange) -> Answer:
        exchange.pause(seconds)
        return exchange.accept()

    return behave


def accepted_after(event: threading.Event) -> Behaviour:
    """Accept once the test sets *event*."""

    def behave(exchange: Exchange) -> Answer:
        exchange.wait(event)
        return exchange.accept()

    return behave


def dropped() -> Behaviour:
    """Drop the connection without an answer; keep nothing."""

    def behave(exchange: Exchange) -> Answer:
        raise Cut

    return behave


def lost_answer(*, cut_after_bytes: int | None = None) -> Behaviour:
    """Keep the spans, then drop the connection: before the answer, or after that many bytes of its body."""

    def behave(exchange: Exchange) -> Answer:
        answer = exchange.accept()
        if cut_after_bytes is None:
            raise Cut
        return Answer(answer.status, b" " * (cut_after_bytes + 100), answer.headers, cut_after_bytes=cut_after_bytes)

    return behave


def poison(span_name: str, code: int = 400) -> Behaviour:
    """Reject every batch that holds a span of that name; accept the others."""

    def behave(exchange: Exchange) -> Answer:
        if any(span.name == span_name for span in exchange.spans):
            return error(code, f"invalid span {span_name!r}")
        return exchange.accept()

    return behave


def too_large(limit_bytes: int) -> Behaviour:
    """Answer 413 to a body of more than *limit_bytes* on the wire; accept the others."""

    def behave(exchange: Exchange) -> Answer:
        if exchange.request.size_bytes > limit_bytes:
            return error(413, "request entity too large")
        return exchange.accept()

    return behave
