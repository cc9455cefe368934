"""Callbacks of the client: sampling, elicitation, roots, progress, logs and notifications.

Over stdio all of them run in the context of whoever opened the connection, over HTTP most of them; with a shared client
that is another user. So each callback is placed in the session of the call that caused it, if that call is certain (see
`attribution.cause`), and untagged otherwise. The opener's session never counts.

A sampling and an elicitation are rows: the server asks the model or the user something, and gets an answer.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langfuse_integration.internals.context_variables import reset_quietly
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.placement import Placed
from langfuse_integration.runtime import ready

from . import private
from .attribution import Cause, asked_during, cause
from .call import McpCall, current
from .connection import Connection
from .exchanges import ServerMessage

Callback = Callable[..., Awaitable[Any]]

LOGGING, PROGRESS = "notifications/message", "notifications/progress"

ORIGINAL = "_langfuse_original"
"""The attribute of our wrapper that holds the application's callback."""

_PLACING = shielded("placing an MCP callback")
_ENDING = shielded("ending the row of an MCP callback")


def wrap(target: Any, connection: Connection) -> None:
    """Place the callbacks that *target* has; those that it does not have stay as they are."""
    for slot in private.CALLBACKS:
        for name in (slot.session, slot.client):
            original: Any = vars(target).get(name)
            if not callable(original) or private.is_default(original) or hasattr(original, ORIGINAL):
                continue
            setattr(target, name, _placed(cast("Callback", original), connection, slot))


def unwrap(target: Any) -> None:
    """Give *target* its callbacks back."""
    for slot in private.CALLBACKS:
        for name in (slot.session, slot.client):
            original = getattr(vars(target).get(name), ORIGINAL, None)
            if original is not None:
                setattr(target, name, original)


def for_task(callback: Any, connection: Connection, task_id: str) -> Any:
    """Return the *callback* that answers a background task's questions, placed on the account of the task's call."""
    if callback is None or hasattr(callback, ORIGINAL):
        return callback
    row = connection.tasks.row_of(task_id)
    slot = next(slot for slot in private.CALLBACKS if slot.label == "elicitation")
    return _placed(callback, connection, slot, Cause(row.session, row) if row is not None else None)


def _placed(original: Callback, connection: Connection, slot: private.Slot, certain: Cause | None = None) -> Callback:
    @functools.wraps(original)
    async def callback(*positional: Any, **named: Any) -> Any:
        if not connection.on:
            return await original(*positional, **named)
        block, message = _Block(), None
        with _PLACING:
            if certain is None and slot.wire is not None:
                message = _kept(connection, slot.wire, positional)
            block.open(certain or _cause_of(connection, positional), connection, slot.label, positional)
        try:
            result = await original(*positional, **named)
        except BaseException as error:
            with _ENDING:
                if message is not None:
                    message.failed = True
                block.close(error=error)
            raise
        with _ENDING:
            if message is not None:
                message.reply = result
            block.close(result)
        return result

    setattr(callback, ORIGINAL, original)
    return callback


def _cause_of(connection: Connection, positional: tuple[Any, ...]) -> Cause:
    return cause(connection, current.get(), _traceparent(positional))


def _traceparent(positional: tuple[Any, ...]) -> str | None:
    meta = private.plain_meta(getattr(positional[0], "meta", None)) if positional else None
    traceparent = meta.get("traceparent") if meta else None
    return traceparent if isinstance(traceparent, str) else None


def _kept(connection: Connection, wire: str, positional: tuple[Any, ...]) -> ServerMessage | None:
    """Add a message of the server to the recording of the call during which it came, and return it.

    A question that an answer holds is none: the next request of the call brings the client's reply.
    """
    call = asked_during(connection, current.get(), _traceparent(positional))
    if call is None or not call.exchanges or call.exchanges[-1].answered:
        return None
    last = positional[-1:]
    params = last[0] if last and (len(positional) > 1 or wire == LOGGING) else None
    return call.exchanges[-1].heard(wire, params)


class _Block:
    """Where one callback runs, and its row if it makes one."""

    __slots__ = ("_placed", "_row", "_token")

    def __init__(self) -> None:
        self._placed: Placed | None = None
        self._row: Observation | None = None

    def open(self, cause: Cause, connection: Connection, label: str | None, positional: tuple[Any, ...]) -> None:
        parent = cause.parent
        if label is not None:
            ready()
            facts = {**connection.facts, "mcp_method": label}
            params = positional[1] if len(positional) > 1 else None
            name, session = f"{connection.server}.{label}", cause.session
            row = Observation(name, "span", tracing.recorder, parent, (session, session), params)
            row.metadata = facts
            if row.app_root:
                tracing.recorder.opened(row)
            self._row = parent = row
        placed = Placed(cause.session, parent)
        placed.__enter__()
        self._placed = placed
        self._token = current.set(None)  # calls that the application makes in here are its own

    def close(self, result: Any = None, error: BaseException | None = None) -> None:
        if self._placed is not None:
            reset_quietly(current, self._token)
            self._placed.__exit__(None, None, None)
        row = self._row
        if row is not None:
            if error is not None:
                row.fail(error)
            elif hasattr(result, "code") and hasattr(result, "message"):  # an ErrorData: declined
                row.level, row.status_message = "ERROR", f"{result.code}: {result.message}"
            row.finish(result)


def with_progress(
    call: McpCall, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of `send_request` (after the request) with the progress callback on the call's account."""
    if named.get("progress_callback") is not None:
        return positional, {**named, "progress_callback": _progress(call, named["progress_callback"])}
    if len(positional) > 3 and positional[3] is not None:
        return (*positional[:3], _progress(call, positional[3]), *positional[4:]), named
    return positional, named


def _progress(call: McpCall, original: Callback) -> Callback:
    @functools.wraps(original)
    async def callback(*positional: Any, **named: Any) -> Any:
        block = _Block()
        with _PLACING:
            block.open(Cause(call.session, call.place), call.connection, None, ())
            if call.exchanges:
                call.exchanges[-1].heard(PROGRESS, _progress_params(*positional, **named))
        try:
            return await original(*positional, **named)
        finally:
            with _ENDING:
                block.close()

    return callback


def _progress_params(progress: float, total: float | None = None, message: str | None = None) -> dict[str, Any]:
    values = {"progress": progress, "total": total, "message": message}
    return {key: value for key, value in values.items() if value is not None}
