"""One request of a client, from its start to its answer: the row that it gets, or the row that it joins.

A call inside a framework's tool run for the same tool gets no second row: the tool's row takes its name and its
metadata. Each tool row takes one call; a second call within it gets a row of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from os import getpid
from sys import modules
from typing import TYPE_CHECKING, Any

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.recording import ambient, otel_api, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.beside import note_beside
from langfuse_integration.recording.noted import MODEL, Noted
from langfuse_integration.recording.observation import Observation
from langfuse_integration.runtime import ready
from langfuse_integration.sessions.session import Session

from . import failures, metric, propagation, readable, tasks
from .connection import Connection
from .exchanges import ExactExchanges, McpExchange, aside
from .merging import run_for
from .methods import CALL_TOOL, NOT_ASIDE, READ_RESOURCE, SUBJECTS, Method, Shown

if TYPE_CHECKING:
    from opentelemetry.context.context import Context

current: ContextVar[McpCall | None] = ContextVar("langfuse_integration_mcp_call", default=None)
"""The call around this code."""

open_rows: BoundedDict[str, McpCall] = BoundedDict(10_000)
"""Calls that await an answer, by the `traceparent` of their row, so that a server in this process finds its caller."""


class McpCall:
    """One request, with everything that happens on its account until `answered` or `failed`.

    Args:
        typed: a typed method made the request, for this call alone.

    Attributes:
        row: its row, or None while it shows in no row.
        merged: the row belongs to a framework, which also ends it.
        session: the session on whose account it is made.
        open: False once it is answered.
        sent: a request has gone out; without one, a cache has answered.
        spare: the row that it gets only if it fails.
        traceparent: the ids of the row, as a request carries them; empty without a row.
        transport_error: what broke the connection meanwhile, or None: the SDK then cancels whoever waits.
        exchanges: its requests, the last one still under way, or none where rows are not to be replayed.
        stamp: the server's name in the answer, where no handshake has told it, or None.
    """

    __slots__ = (
        "_context",
        "_settled",
        "_started",
        "_token",
        "connection",
        "exchanges",
        "merged",
        "method",
        "open",
        "parent",
        "row",
        "sent",
        "session",
        "spare",
        "stamp",
        "subject",
        "traceparent",
        "transport_error",
        "typed",
    )

    row: Observation | None
    spare: Observation | None
    transport_error: Exception | None
    stamp: str | None
    parent: Parent | None
    session: Session | None
    _context: Token[Context] | None
    _token: Token[McpCall | None]

    def __init__(self, connection: Connection, method: Method, subject: str | None, *, typed: bool) -> None:
        self.connection = connection
        self._settled = connection.settled
        self.method = method
        self.subject = subject
        self.typed = typed
        self.merged = self.sent = self.open = False
        self.row = self.spare = self.stamp = self.parent = self.session = None
        self.exchanges: list[McpExchange] = []
        self.traceparent = ""
        self.transport_error = self._context = None

    def begin(self, payload: Any, *, resumed: bool = False) -> McpCall:
        """Start the clock and the row, and make both current; return this call.

        Args:
            payload: the request's input, as the row shows it.
            resumed: see `merging.run_for`.
        """
        if getpid() != tracing.hooks.process_id or tracing.hooks.awaited in modules:
            ready()
        self._started = time.perf_counter()
        self.open = True
        self.parent = ambient.current()
        run = None
        if self.method is CALL_TOOL:
            run = run_for(self.parent, self.connection.server, self.subject, payload, resumed)
        self.row = row = self._open_row(payload) if run is None else self._join(run)
        if row is not None:
            self.traceparent = f"00-{row.trace:032x}-{row.span:016x}-01"
            open_rows[self.traceparent] = self
            self._context = propagation.attach(row)
        self._token = current.set(self)
        return self

    def _join(self, run: Observation) -> Observation:
        self.merged = True
        self.session = run.session
        run.name = self._name()
        run.metadata = {**(run.metadata or {}), **self.facts()}
        return run

    def _open_row(self, payload: Any) -> Observation | None:
        parent = self.parent
        self.session, origin = tracing.store.resolve(parent)
        shown = self.method.shown
        if shown is Shown.NEVER:
            task = self.connection.tasks.row_of(self.subject)
            if task is not None:  # the server's questions meanwhile belong to the call that began the task
                self.session, self.parent = task.session, task
            return None
        row = Observation(self._name(), self.method.type, tracing.recorder, parent, (self.session, origin), payload)
        row.metadata = self.facts()
        if shown is Shown.FAILED or (shown is Shown.BELOW and parent is None):
            self.spare = row
            if shown is Shown.FAILED:
                self.session = self.parent = None  # messages of a server during the handshake belong to no call
            return None
        if row.app_root:
            tracing.recorder.opened(row)
        return row

    def _name(self) -> str:
        server = self.stamp or self.connection.server
        return f"{server}.{self.subject if self.method is CALL_TOOL else self.method.label}"

    def facts(self) -> dict[str, Any]:
        """Return the metadata that describes the call."""
        wire = self.method.wire
        subject = SUBJECTS.get(wire)
        if subject is None:
            return {**self.connection.facts, "mcp_method": wire}
        return {**self.connection.facts, "mcp_method": wire, subject: self.subject}

    @property
    def place(self) -> Parent | None:
        """The parent of rows that belong to this call."""
        return self.row if self.row is not None else self.parent

    @property
    def around(self) -> Context | None:
        """The OpenTelemetry context in which the call was made."""
        outer = self._context.old_value if self._context is not None else None
        return None if outer is Token.MISSING else outer

    def serve(self, connection: Connection) -> None:
        """Let another connection do the work of a hollow one: it knows the server."""
        self.connection = connection
        self._settled = False

    def note_ids(self, ids: Mapping[str, Any]) -> None:
        """Note ids of a request for destinations beside Langfuse, by OpenTelemetry's names; None is none."""
        if self.row is not None:
            note_beside(self.row.span, {key: str(value) for key, value in ids.items() if value is not None})

    def request(self, request: Any) -> McpExchange:
        """Note a request that is sent now."""
        exchange = McpExchange(request)
        self.exchanges.append(exchange)
        return exchange

    # -- the end

    def answered(self, result: Any) -> None:
        """End with the server's answer; the row of a background task stays open."""
        if self.method.wire in tasks.METHODS:
            self.connection.tasks.answered(self.method.wire, self.subject, result)
        failed = self.method is CALL_TOOL and readable.is_error(result)
        row = self.row
        if row is not None:
            last = self.exchanges[-1] if self.exchanges else None
            noted = last.noted if last is not None and last.result is result else None
            if noted is None:
                noted = Noted(result) if hasattr(type(result), MODEL) else result
            if not self._settled:
                self._settle(row)
            if failed:
                failures.mark_tool_error(row, readable.text_of(result))
            if self.exchanges:
                self._keep(row)
            if self.method is READ_RESOURCE and not self.sent:
                row.metadata = {**(row.metadata or {}), "mcp_cached": True}
            if not self.merged and (hasattr(result, "content") or not self._goes_on(row, result)):
                row.output = noted
                row.finish()
        self._end("tool_error" if failed else None)

    def _goes_on(self, row: Observation, result: Any) -> bool:
        """Return whether the tool runs on as a task, whose end will end the row."""
        task_id = tasks.id_of(result) if self.method is CALL_TOOL else None
        return task_id is not None and self.connection.tasks.open(task_id, row, result, self.connection.target)

    def failed(self, error: BaseException) -> None:
        """End with an exception: the protocol's error, a time-out, cancellation, or a fault of the transport."""
        error = failures.innermost(error)
        if self.transport_error is not None and not isinstance(error, Exception):
            error = self.transport_error
        kind, status = failures.kind_and_status(error)
        self._unanswered(kind, status)
        if self.method.wire in tasks.METHODS:
            self.connection.tasks.failed(self.method.wire, self.subject, error)
        row = self.row
        if row is None and kind is not None:
            row = self.spare
        if row is not None:
            if not self._settled:
                self._settle(row)
            if kind is not None:
                failures.mark(row, kind, status)
            if self.exchanges:
                self._keep(row)
            if not self.merged:
                if kind is None:
                    row.cancel()
                row.finish(failures.output_of(error) if kind is not None else None)
        self._end(kind)

    def _keep(self, row: Observation) -> None:
        """Give the row its exact form, from which the call can be replayed."""
        wire, connection = self.method.wire, self.connection
        own = [exchange for exchange in self.exchanges if exchange.method == wire]
        aside.keep(connection.server, [exchange for exchange in self.exchanges if exchange.method not in NOT_ASIDE])
        self.exchanges = []
        before = row.exact
        if isinstance(before, ExactExchanges):  # an earlier round of the same call
            own = [*before.exchanges, *own]
        session = self.session.session_id if self.session is not None else None
        others = aside.for_session(connection.server, session, tracing.recorder.worker)
        row.exact = ExactExchanges(
            self.stamp or connection.server,
            (connection.number, connection.transport, connection.process),
            own,
            others,
        )

    def _unanswered(self, kind: str | None, status: str) -> None:
        if self.exchanges and kind is not None:
            self.exchanges[-1].gave_up(status)

    def _settle(self, row: Observation) -> None:
        """Add to the row what the connection has learned about the server during the call."""
        row.name = self._name()
        row.metadata = {**(row.metadata or {}), **self.facts()}
        if self.stamp is not None:
            row.metadata["mcp_server"] = self.stamp

    def _end(self, error_type: str | None) -> None:
        self.open = False
        if self.exchanges:  # there is no row
            aside.keep(self.connection.server, [one for one in self.exchanges if one.method not in NOT_ASIDE])
        if self.row is not None:
            open_rows.pop(self.traceparent, None)
        # As `otel_api.detach` and `reset_quietly`, without the calls.
        try:
            if self._context is not None:
                otel_api.reset(self._context)
        except ValueError:
            pass
        try:
            current.reset(self._token)
        except ValueError:
            pass
        method, connection = self.method, self.connection
        tool = self.subject if method is CALL_TOOL else None
        duration_s = time.perf_counter() - self._started
        metric.record(method.wire, tool, duration_s, error_type, connection.version, connection.transport)
