"""One request of a client, from the moment it is made to its answer: the row that it makes, or the row that it joins.

A call inside a framework's tool run for the same tool makes no second row: the tool's row takes its name and its
metadata. Each tool row takes one call; a second call within it makes a row of its own.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from langfuse_integration.recording import ambient, otel_api, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation, describe
from langfuse_integration.runtime import ready

from . import metric, propagation, readable
from .methods import CALL_TOOL, READ_RESOURCE, SUBJECTS, Method, Shown

if TYPE_CHECKING:
    from opentelemetry.context.context import Context

    from .connection import Connection

TIMEOUTS = (-32001, 408)
"""The codes for a time-out of the SDK's own: 2.x, and 1.x."""
SEPARATORS = "_.-/:"
"""What frameworks put between a server's name and a tool's."""
OPEN_LIMIT = 10_000

current: ContextVar[McpCall | None] = ContextVar("langfuse_integration_mcp_call", default=None)
"""The call within which this code runs."""

open_rows: dict[int, McpCall] = {}
"""Calls that await an answer, by the id of their row, so that a server in this very process finds its caller."""


class McpCall:
    """One call.

    Attributes:
        row: what is recorded of it, or None while it shows in no row.
        merged: the row belongs to a framework, which also ends it.
        session: on whose account it is made.
        open: False once it is answered.
        typed: it was made by a typed method, so that the request was built for it alone.
        sent: a request has gone out; without one, a cache has answered.
        spare: the row that it makes only when it fails.
    """

    __slots__ = (
        "_context",
        "_known",
        "_started",
        "_token",
        "connection",
        "merged",
        "method",
        "open",
        "parent",
        "row",
        "sent",
        "session",
        "spare",
        "subject",
        "typed",
    )

    row: Observation | None
    spare: Observation | None

    def __init__(
        self, connection: Connection, method: Method, subject: str | None, payload: Any, *, typed: bool, again: bool
    ) -> None:
        ready()
        self._started = time.perf_counter()
        self.connection = connection
        self._known = connection.known
        self.method = method
        self.subject = subject
        self.typed = typed
        self.merged = self.sent = False
        self.spare = None
        self.open = True
        self.parent = ambient.current()
        run = _run_of(self.parent, connection.server, subject, payload, again) if method is CALL_TOOL else None
        self.row = self._begun(payload) if run is None else self._joined(run)
        self._context: Token[Context] | None = None
        if self.row is not None:
            if len(open_rows) < OPEN_LIMIT:
                open_rows[self.row.span] = self
            self._context = propagation.attach(self.row)
        self._token: Token[McpCall | None] = current.set(self)

    def _joined(self, run: Observation) -> Observation:
        self.merged = True
        self.session = run.session
        run.name = self._name()
        run.metadata = {**(run.metadata or {}), **self.facts()}
        return run

    def _begun(self, payload: Any) -> Observation | None:
        above = self.parent
        self.session, origin = tracing.store.resolve(above)
        shown = self.method.shown
        if shown is Shown.NEVER:
            return None
        name, session = self._name(), self.session
        row = Observation(name, self.method.type, tracing.recorder, above, (session, origin), payload)
        row.metadata = self.facts()
        if shown is Shown.FAILED or (shown is Shown.BELOW and above is None):
            self.spare = row
            if shown is Shown.FAILED:
                self.session = self.parent = None  # what a server says at the handshake is for whoever comes
            return None
        if row.app_root:
            tracing.recorder.opened(row)
        return row

    def _name(self) -> str:
        return f"{self.connection.server}.{self.subject if self.method is CALL_TOOL else self.method.label}"

    def facts(self) -> dict[str, Any]:
        """Return what the row says of the call in its metadata."""
        wire = self.method.wire
        subject = SUBJECTS.get(wire)
        if subject is None:
            return {**self.connection.facts, "mcp_method": wire}
        return {**self.connection.facts, "mcp_method": wire, subject: self.subject}

    @property
    def place(self) -> Parent | None:
        """What is made on account of this call stands under this."""
        return self.row if self.row is not None else self.parent

    def covers(self, connection: Connection) -> bool:
        """Return whether a request on *connection* from within this call is part of it."""
        return self.open and (connection is self.connection or self.connection.hollow)

    def serve(self, connection: Connection) -> None:
        """Let another connection do the work of a hollow one: it knows the server."""
        self.connection = connection
        self._known = False

    # -- the end

    def answered(self, result: Any) -> None:
        """End with what the server has answered."""
        failed = self.method is CALL_TOOL and readable.is_error(result)
        row = self.row
        if row is not None:
            if not self._known:
                self._settle(row)
            if failed:
                text = readable.text_of(result)
                self._mark(row, "tool_error", f"tool_error: {text}" if text else "tool_error")
            if self.method is READ_RESOURCE and not self.sent:
                row.metadata = {**(row.metadata or {}), "mcp_cached": True}
            if not self.merged:
                row.finish(result)
        self._end("tool_error" if failed else None)

    def failed(self, error: BaseException) -> None:
        """End with an exception: the protocol's error, a time-out, cancellation, or the transport's fault."""
        error = _innermost(error)
        kind, status = _told(error)
        row = self.row
        if row is None and self.spare is not None and kind is not None:
            row = self.spare
        if row is not None:
            if not self._known:
                self._settle(row)
            if kind is None:
                if not self.merged:
                    row.cancel()
            else:
                self._mark(row, kind, status)
            if not self.merged:
                row.finish(_shown(error) if kind is not None else None)
        self._end(kind)

    def _settle(self, row: Observation) -> None:
        """Say on the row what only the handshake within the call has told."""
        row.name = self._name()
        row.metadata = {**(row.metadata or {}), **self.facts()}

    @staticmethod
    def _mark(row: Observation, kind: str, status: str) -> None:
        row.level = "ERROR"
        row.status_message = status
        row.metadata = {**(row.metadata or {}), "mcp_error_type": kind}

    def _end(self, error_type: str | None) -> None:
        self.open = False
        if self.row is not None:
            open_rows.pop(self.row.span, None)
        if self._context is not None:
            otel_api.detach(self._context)
        try:
            current.reset(self._token)
        except ValueError:
            pass  # ended in another context, as a coroutine that is closed elsewhere
        method, connection = self.method, self.connection
        tool = self.subject if method is CALL_TOOL else None
        duration_s = time.perf_counter() - self._started
        metric.record(method.wire, tool, duration_s, error_type, connection.version, connection.transport)


def _run_of(above: Parent | None, server: str, tool: str | None, arguments: Any, again: bool) -> Observation | None:
    """Return *above* if it is a framework's open run of this very tool that no call has joined yet, else None.

    Frameworks put a server's name of their own choice before the tool's; then the arguments have to agree as well,
    where the run has kept them.

    Args:
        again: a further round of a call that the run has been joined by: it asks for input, and this brings it.
    """
    if type(above) is not Observation or above.type != "tool" or above.ended_ns or not tool:
        return None
    known = above.metadata or {}
    if "mcp_tool" in known:
        return above if again and known["mcp_tool"] == tool else None
    name = above.name
    if name == tool or name == f"{server}_{tool}":
        return above
    prefixed = name.endswith(tool) and len(name) > len(tool) + 1 and name[-len(tool) - 1] in SEPARATORS
    return above if prefixed and (not isinstance(above.input, dict) or above.input == arguments) else None


def _innermost(error: BaseException) -> BaseException:
    """Return the one error in a group of one: task groups in transports wrap it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> tuple[str | None, str]:
    """Return (the kind of error, the status message); no kind is cancellation and other control flow."""
    if not isinstance(error, Exception) or type(error).__name__ in ("CancelledError", "Cancelled"):
        return None, "cancelled"
    code = getattr(getattr(error, "error", None), "code", None)
    if code in TIMEOUTS or isinstance(error, TimeoutError):
        return "timeout", "timeout"
    if code is not None:
        return str(code), f"{code}: {getattr(error.error, 'message', error)}"  # type: ignore[attr-defined]
    return type(error).__name__, describe(error)


def _shown(error: BaseException) -> dict[str, Any]:
    told: Any = getattr(error, "error", None)
    if told is None or getattr(told, "code", None) is None:
        return {"error": describe(error)}
    shown = {"code": told.code, "message": told.message, "data": told.data}
    return {"error": {key: value for key, value in shown.items() if value is not None}}
