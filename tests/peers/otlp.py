"""Receiver: a Langfuse server as a client sees it, with OTLP traces at `/api/public/otel/v1/traces`.

It keeps what it gets, gives it back as trees, and misbehaves as scripted:

    with Receiver() as receiver:
        ...                                   # send to receiver.traces_url, or set receiver.environment()
        receiver.wait_for(3)
        assert receiver.trees() == [("agent", ("think",), ("act",))]
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from peers.exchange import Exchange
from peers.langfuse_api import LangfuseApi, error
from peers.misbehaviour import Behaviour
from peers.server import Answer, LocalServer, Request
from peers.spans import Node, Span, tree, wire_spans

__all__ = ["Exchange", "Receiver", "Span", "tree"]

TRACES = "/api/public/otel/v1/traces"


class Receiver(LocalServer):
    """A Langfuse server that keeps what it gets and misbehaves as a test scripts it.

    Requests need the two keys in Basic authentication. A span with a malformed id rejects its whole batch with 400.
    """

    traces_path = TRACES
    needs_keys = True

    def __init__(
        self, public_key: str = "pk-lf-test", secret_key: str = "sk-lf-test", *, project_id: str = "test-project"
    ) -> None:
        self.public_key = public_key
        self.secret_key = secret_key
        self.requests: list[Exchange] = []
        """Every request for traces, in order of arrival, rejected ones too."""
        self._arrivals: Counter[tuple[bytes, bytes]] = Counter()
        self._changed = threading.Condition()
        self._script: deque[Behaviour] = deque()
        self._always: Behaviour | None = None
        self.api = LangfuseApi(public_key, secret_key, project_id)
        """The other endpoints, and what came to them: scores, ingestion events, media."""
        super().__init__()

    @property
    def traces_url(self) -> str:
        """Where OTLP traces go."""
        return self.url + self.traces_path

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point a Langfuse client here."""
        keys = {"LANGFUSE_PUBLIC_KEY": self.public_key, "LANGFUSE_SECRET_KEY": self.secret_key}
        return {**keys, "LANGFUSE_BASE_URL": self.url}

    # --- what came ---------------------------------------------------------------------------------------------

    @property
    def spans(self) -> list[Span]:
        """Every span that was kept, in order of arrival; one that came twice is there twice."""
        with self._changed:
            kept = [request for request in self.requests if request.stored]
        return [span for request in kept for span in request.spans]

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The scores that came, by whichever endpoint."""
        return self.api.scores

    def trees(self, label: Callable[[Span], Any] = attrgetter("name"), *, ordered: bool = True) -> list[Node]:
        """Return the trees of every span that was kept, as `tree` makes them."""
        return tree(self.spans, label, ordered=ordered)

    def doubled(self) -> dict[str, int]:
        """Return the ids of spans that were kept more than once, `trace_id/span_id`, and how often."""
        with self._changed:
            return {f"{t.hex()}/{s.hex()}": times for (t, s), times in self._arrivals.items() if times > 1}

    def wait_for(self, count: int, timeout_s: float = 60.0) -> list[Span]:
        """Wait until *count* different spans were kept and return all of them.

        Raises:
            TimeoutError: They did not come within *timeout_s*; it says what did come.
        """
        self.wait_until(lambda: len(self._arrivals) >= count, timeout_s, f"{count} spans")
        return self.spans

    def wait_for_requests(self, count: int, timeout_s: float = 60.0) -> list[Exchange]:
        """Wait until *count* requests for traces came in, answered or not; raises TimeoutError."""
        self.wait_until(lambda: len(self.requests) >= count, timeout_s, f"{count} requests")
        return list(self.requests)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 60.0, what: str = "the condition") -> None:
        """Wait until *condition*, checked after each request, is true; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                answers = Counter(request.status for request in self.requests)
                raise TimeoutError(
                    f"no {what} in {timeout_s} s: {len(self._arrivals)} spans came, answers were {dict(answers)}"
                )

    def clear(self) -> None:
        """Forget what came; scripted behaviours stay."""
        with self._changed:
            self.requests.clear()
            self._arrivals.clear()
            self.api.clear()

    # --- how it behaves ----------------------------------------------------------------------------------------

    def script(self, *behaviours: Behaviour) -> None:
        """Queue behaviours, one for each of the next requests for traces."""
        with self._changed:
            self._script.extend(behaviours)

    def always(self, behaviour: Behaviour | None) -> None:
        """Treat every request that finds no scripted behaviour so; None accepts again."""
        with self._changed:
            self._always = behaviour

    def answer(self, request: Request) -> Answer:
        """Route a request: traces to the scripted behaviour, the rest to the API."""
        if request.path != self.traces_path:
            answer = self.api.answer(request, self.url)
            with self._changed:
                self._changed.notify_all()
            return answer
        if request.method != "POST":
            return error(405, "method not allowed")
        exchange = Exchange(request, self, self._accept)
        with self._changed:
            self.requests.append(exchange)
            behave = self._script.popleft() if self._script else self._always
            self._changed.notify_all()
        answer = behave(exchange) if behave else exchange.accept()
        with self._changed:
            exchange.status = answer.status
            self._changed.notify_all()
        return answer

    def _accept(self, exchange: Exchange) -> Answer:
        if self.needs_keys and (refusal := self.api.refusal(exchange.request)):
            return refusal
        content_type = exchange.headers.get("content-type", "")
        if not content_type.startswith(("application/x-protobuf", "application/json")):
            return error(415, f"unsupported content type {content_type!r}")
        try:
            message = exchange.message
        except ValueError as problem:
            return error(400, str(problem))
        with self._changed:
            self._arrivals.update((span.trace_id, span.span_id) for span in wire_spans(message))
            exchange.stored = True
            self._changed.notify_all()
        body = b"{}" if content_type.startswith("application/json") else b""
        return Answer(200, body, {"Content-Type": content_type})
