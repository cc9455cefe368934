"""Continuations: the trace and the steps of a workflow's run, kept for the run that continues it.

A server releases a run that waits for a person, and continues it under the same run id. An application saves the
context of a run, and continues it in a new one. In the same session both runs are roots of one trace. Workers that
share a store share continuations.

What is kept of a run is removed at its end, unless the run was released, its context was saved, or a step still waits:
nothing else can be continued.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from inspect import BoundArguments
from typing import Any

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.internals.faults import shielded
from langfuse_integration.internals.resets import on_reset
from langfuse_integration.recording import resumption
from langfuse_integration.recording.anchor import Anchor, Parent
from langfuse_integration.recording.steps import AgentSteps
from langfuse_integration.sessions.shared_state import SharedTrace, is_shared, traces

from . import private

CONTINUATIONS_LIMIT = 2_000
_SAVES = "to_dict"
_SAVING = shielded("noting a saved context of LlamaIndex")
_SHARING = shielded("sharing an interrupted run with other workers")


class Continuation:
    """The part of a run that outlives it.

    Attributes:
        anchor: names the trace and no span: a run below it is one more root of that trace.
        root: the anchor of the run's row.
        run_key: under which it is kept by the id of its run; None for a run without an id, or of another worker.
        steps: the agent's thinks and acts so far, or None when it is no agent.
        saved: whether the run's context was saved while it ran.
    """

    __slots__ = ("anchor", "root", "run_key", "saved", "steps")

    def __init__(self, root: Parent, steps: AgentSteps | None) -> None:
        self.anchor = resumption.trace_of(root)
        self.root = Anchor.of(root)
        self.run_key: str | None = None
        self.steps = steps
        self.saved = False

    def next_steps(self) -> AgentSteps | None:
        """Return the steps with which the next run goes on."""
        return AgentSteps.from_json(self.steps.to_json()) if self.steps is not None else None


kept: BoundedDict[str, Continuation | None] = BoundedDict(CONTINUATIONS_LIMIT)
"""By the id of a run, the stamp of a saved context, or the id of a tool call that waits.

None for the id of calls in two runs, of which none is continued.
"""
on_reset(kept.clear)


def begin(root: Parent, steps: AgentSteps | None) -> Continuation:
    """Return the continuation of a run that starts here, kept by its run id."""
    continuation = Continuation(root, steps)
    run_id = private.run_id()
    if run_id is not None:
        continuation.run_key = _by_run(run_id)
        kept.renew(continuation.run_key, continuation)
    return continuation


def end(continuation: Continuation) -> None:
    """Forget a run that has ended by its id: no other run has the same one, unless the run was released."""
    if continuation.run_key is not None:
        _remove(continuation.run_key, continuation)


def wait(continuation: Continuation, event: Any) -> None:
    """Keep the continuation of a run by the tool call of *event*, for which a step waits.

    Only where saved contexts have no stamp: not every provider makes the ids of tool calls unique.
    """
    key = None if private.CONTEXTS_HAVE_STAMPS else _by_call(event)
    if key is not None:
        unique = kept.get(key, continuation) is continuation
        kept.renew(key, continuation if unique else None)


def wake(continuation: Continuation, event: Any) -> None:
    """Forget the tool call of *event*, for which no step of the run waits any more."""
    key = _by_call(event)
    if key is not None:
        _remove(key, continuation)


def recall(bound: BoundArguments) -> Continuation | None:
    """Return the continuation of the run that the one with these arguments goes on with, or None."""
    if bound.arguments.get("start_event") is not None:
        return None
    keys = list(_keys(bound.arguments.get("init_state")))
    for key in keys:
        if key in kept:
            return kept.get(key)
    return _recall_shared(keys)


def share(continuation: Continuation) -> None:
    """Offer a run that ends unfinished to the workers that share a store with this one. Never waits."""
    run_id = private.run_id()
    if run_id is not None:
        _share(_by_run(run_id), continuation)


def wrap() -> None:
    """Note the contexts that are saved from here on."""
    with _SAVING:
        kind = private.context_class()
        to_dict = vars(kind).get(_SAVES)
        if to_dict is None or hasattr(to_dict, "__wrapped__"):
            return

        @functools.wraps(to_dict)
        def saving(self: Any, *positional: Any, **named: Any) -> Any:
            saved = to_dict(self, *positional, **named)
            with _SAVING:
                _note(self, saved)
            return saved

        setattr(kind, _SAVES, saving)
        _wrapped.append(saving)


def unwrap() -> None:
    """Undo `wrap`."""
    with _SAVING:
        kind = private.context_class()
        while _wrapped:
            saving = _wrapped.pop()
            if vars(kind).get(_SAVES) is saving:
                setattr(kind, _SAVES, saving.__wrapped__)


_wrapped: list[Any] = []


def _note(context: Any, saved: Any) -> None:
    """Keep the continuation of the run of *context* by the stamp in its saved form."""
    run_id, stamp = private.run_id_of(context), private.stamp_of(saved)
    continuation = kept.get(_by_run(run_id)) if run_id is not None else None
    if continuation is None or stamp is None or not saved.get("is_running"):
        return
    continuation.saved = True
    kept.renew(_by_stamp(stamp), continuation)
    _share(_by_stamp(stamp), continuation)


def _keys(state: Any) -> Iterator[str]:
    """Yield the keys of the run that a run starting from *state* may continue."""
    run_id = private.run_id()
    if run_id is not None:
        yield _by_run(run_id)
    stamp = private.stamp_of(vars(state)) if hasattr(state, "__dict__") else None
    if stamp is not None:
        yield _by_stamp(stamp)
    for event in () if private.CONTEXTS_HAVE_STAMPS else private.waiting_events(state):
        key = _by_call(event)
        if key is not None:
            yield key


def _by_run(run_id: str) -> str:
    return f"run {run_id}"


def _by_stamp(stamp: str) -> str:
    return f"saved {stamp}"


def _by_call(event: Any) -> str | None:
    """Return the key of the tool call of *event*; None without an id of the provider, which is the tool's name then."""
    call_id = getattr(event, "tool_id", None)
    named = not isinstance(call_id, str) or call_id in ("", getattr(event, "tool_name", None))
    return None if named else f"call {call_id}"


def _remove(key: str, continuation: Continuation) -> None:
    if kept.get(key) is continuation:
        kept.pop(key, None)


def _share(key: str, continuation: Continuation) -> None:
    with _SHARING:
        if is_shared():
            anchor, steps = continuation.anchor, continuation.steps
            notes = {
                "steps": steps.to_json() if steps is not None else None,
                "root": f"{continuation.root.span:016x}",
            }
            traces.remember(f"llamaindex {key}", SharedTrace(anchor.trace, anchor.started_ns, anchor.session, notes))


def _recall_shared(keys: list[str]) -> Continuation | None:
    """Return what a worker of this service shared of a run, or None."""
    with _SHARING:
        if not is_shared():
            return None
        trace = traces.recall(*(f"llamaindex {key}" for key in keys))
        if trace is not None:
            steps = trace.notes.get("steps")
            continuation = Continuation(trace, AgentSteps.from_json(steps) if steps is not None else None)
            continuation.root.span = int(trace.notes.get("root", "0"), 16)
            return continuation
    return None
