"""Problems of a trace: each failure once, with the steps above it, and whether the run recovered.

To find another kind of problem, write a function that yields problems of `TraceSteps` and list it in FINDERS.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ..encoding.messages import ChatMessage, ToolCall, messages_in
from ..internals.lazy import lazy
from .replay import Observed, Trace

REPEATED_FROM = 3
"""A tool called this many times with the same arguments is a loop."""
GROUP_ERRORS = ("ExceptionGroup", "TaskGroup", "CancelledError")
"""Classes of errors that only wrap others."""
KINDS = (
    "failed", "refused", "never called", "never ended", "cancelled", "repeated", "cut off", "empty answer",
    "nothing retrieved", "no usage",
)  # fmt: skip
"""Kinds of problems, the gravest first."""

CUT_OFF = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "the answer was cut at its limit"),
    **dict.fromkeys(("content_filter", "safety", "prohibited_content", "blocklist"), "a filter stopped the answer"),
}
"""What a provider's finish reason, in lower case, says of an answer that is not whole."""


class Problem(NamedTuple):
    """One problem.

    Attributes:
        kind: one of KINDS.
        message: what happened, in one sentence.
        observation: the step where it happened: of a chain of failing steps the deepest.
        chain: the steps above it, from the root down.
        outcome: `fatal` if the whole run failed by it, `recovered` if the run went on, or nothing.
        times: how often it happened.
    """

    kind: str
    message: str
    observation: Observed
    chain: tuple[Observed, ...]
    outcome: str = ""
    times: int = 1


class TraceSteps:
    """The observations of a trace, each with what is above and beside it."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.observations = trace.observations
        self._parents = {child.id: parent for parent in trace.observations for child in parent.children}

    def chain(self, observation: Observed) -> tuple[Observed, ...]:
        """Return the observations above one, from the root down."""
        above: list[Observed] = []
        parent = self._parents.get(observation.id)
        while parent is not None:
            above.append(parent)
            parent = self._parents.get(parent.id)
        return tuple(reversed(above))

    def siblings(self, observation: Observed) -> list[Observed]:
        """Return the observations with the same parent, itself among them, in the order of their starts."""
        parent = self._parents.get(observation.id)
        return parent.children if parent is not None else self.trace.roots

    def problem(self, kind: str, message: str, observation: Observed, outcome: str = "", times: int = 1) -> Problem:
        """Return a problem of an observation."""
        return Problem(kind, message, observation, self.chain(observation), outcome, times)

    @lazy
    def tool_messages(self) -> dict[str, ChatMessage]:
        """Results of tool calls as models received them, by call id."""
        messages: dict[str, ChatMessage] = {}
        for observation in self.observations:
            if observation.type in ("generation", "agent", "chain"):
                for value in (observation.input, observation.output):
                    messages |= {each.call_id: each for each in messages_in(value) if each.call_id}
        return messages


def problems_of(trace: Trace) -> list[Problem]:
    """Return the problems of a trace, the gravest first, then in the order of time."""
    steps = TraceSteps(trace)
    problems = [problem for find in FINDERS for problem in find(steps)]
    return sorted(
        problems, key=lambda each: (each.outcome != "fatal", KINDS.index(each.kind), each.observation.started_ns)
    )


def failures(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the failures: of a chain of failing steps the deepest, attempts at the same thing together."""
    seen: set[str] = set()
    for observation in steps.observations:
        if observation.level != "ERROR" or observation.id in seen or _passes_on(observation):
            continue
        attempts = _attempts(observation, steps.siblings(observation))
        failed = [attempt for attempt in attempts if attempt.level == "ERROR"]
        seen.update(attempt.id for attempt in failed)
        message = failed[-1].status_message or "failed"
        if len(attempts) > 1:
            message += f" ({len(failed)} of {len(attempts)} attempts failed)"
        fallback = _fallback(failed[-1], steps.siblings(observation))
        if fallback:
            message += f" (fell back to {fallback})"
        yield steps.problem("failed", message, failed[0], _outcome(observation, steps), len(failed))


def refusals(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the tool calls that were refused, such as those of a tool that does not exist, and those never made."""
    acts = {str(each.metadata.get("tool_call_id")) for each in steps.observations}
    made = Counter((each.name, _text(each.input)) for each in steps.observations if each.type == "tool")
    claimed = {
        str(call.get("id"))
        for each in steps.observations
        for call in _mappings(each.metadata.get("unanswered_tool_calls"))
    }
    for think in steps.observations:
        for call in _calls(think, acts):
            answer = steps.tool_messages.get(call.id or "")
            if answer is not None and answer.failed:
                yield steps.problem("refused", f"{call.name}: {answer.text}", think, "recovered")
            elif answer is None and call.id in claimed and not made[call.name, _text(call.arguments)]:
                yield steps.problem("never called", f"{call.name} was asked for and never called", think)


def repetitions(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the tools that were called with the same arguments again and again."""
    calls: dict[tuple[object, ...], list[Observed]] = defaultdict(list)
    for observation in steps.observations:
        if observation.type == "tool" and not any(child.type == "tool" for child in observation.children):
            key = (observation.metadata.get("agent_name"), observation.name, _text(observation.input))
            calls[key].append(observation)
    for repeated in calls.values():
        if len(repeated) >= REPEATED_FROM:
            message = f"called {len(repeated)} times with the same arguments"
            yield steps.problem("repeated", message, repeated[0], times=len(repeated))


def never_ended(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the steps whose process is gone, the deepest of each chain."""
    for observation in steps.observations:
        if _dead(observation) and not any(_dead(child) for child in observation.children):
            yield steps.problem("never ended", "its process is gone, and it has not ended", observation)


def empty_answers(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the model calls that came back without text and without a tool call."""
    for observation in steps.observations:
        if observation.type != "generation" or not observation.finished or observation.input is None:
            continue
        if observation.level == "ERROR" or observation.status_message:
            continue
        messages = messages_in(observation.output)
        silent = messages and not any(message.text.strip() or message.calls for message in messages)
        if silent or observation.output in (None, "", {}, []):
            yield steps.problem("empty answer", "the model answered nothing", observation)


def cut_answers(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the model calls that ended at a limit or by a filter."""
    for observation in steps.observations:
        reason = str(observation.metadata.get("finish_reason") or "")
        if observation.type == "generation" and reason.lower() in CUT_OFF:
            yield steps.problem("cut off", f"{CUT_OFF[reason.lower()]} ({reason})", observation)


def cancelled_runs(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the deepest cancelled steps of a cancelled run."""
    for observation in steps.observations:
        chain = [*steps.chain(observation), observation]
        if all(_cancelled(each) for each in chain) and not any(map(_cancelled, observation.children)):
            yield steps.problem("cancelled", "the run was cancelled here", observation)


def empty_retrievals(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the retrievers that found no document."""
    for observation in steps.observations:
        if observation.type == "retriever" and observation.level != "ERROR" and observation.output == []:
            yield steps.problem("nothing retrieved", "the retriever found no document", observation)


def missing_usage(steps: TraceSteps) -> Iterator[Problem]:
    """Yield the models whose streamed answers told no usage, each once."""
    streamed: dict[str | None, list[Observed]] = defaultdict(list)
    for observation in steps.observations:
        if observation.type == "generation" and observation.first_token and not observation.usage:
            streamed[observation.model].append(observation)
    for calls in streamed.values():
        yield steps.problem(
            "no usage", "streamed without token usage, so tokens and cost are unknown", calls[0], times=len(calls)
        )


FINDERS: tuple[Callable[[TraceSteps], Iterable[Problem]], ...] = (
    failures,
    refusals,
    repetitions,
    never_ended,
    empty_answers,
    cut_answers,
    cancelled_runs,
    empty_retrievals,
    missing_usage,
)


def _passes_on(observation: Observed) -> bool:
    """Return whether a failed step only passes on the failure of a step below it."""
    return any(_failed_by(observation, child) for child in observation.children)


def _failed_by(observation: Observed, child: Observed) -> bool:
    """Return whether a step failed because a step directly below it did."""
    if observation.level != "ERROR" or child.level != "ERROR":
        return False
    message, cause = observation.status_message or "", child.status_message or ""
    if not message or not cause or cause in message or message in cause:
        return True
    if any(name in message for name in GROUP_ERRORS):
        return True
    # Nothing was tried after the step below had failed.
    return not any(later.started_ns >= child.ended_ns for later in observation.children if later is not child)


def _attempts(observation: Observed, siblings: list[Observed]) -> list[Observed]:
    """Return the calls beside a failed one that ask for the same: retries."""
    key = _request(observation)
    return [each for each in siblings if each is observation or _request(each) == key]


def _request(observation: Observed) -> tuple[object, ...]:
    return observation.type, observation.name, observation.model, _text(observation.input)


def _fallback(failed: Observed, siblings: list[Observed]) -> str | None:
    """Return the model that answered instead of a failed one, or None."""
    if failed.type != "generation" or failed.input is None:
        return None
    later = (each for each in siblings if each.type == "generation" and each.started_ns >= failed.ended_ns)
    other = next((each for each in later if _text(each.input) == _text(failed.input) and each.level != "ERROR"), None)
    return other.model if other is not None and other.model != failed.model else None


def _outcome(observation: Observed, steps: TraceSteps) -> str:
    chain = [*steps.chain(observation), observation]
    if not chain[0].finished:
        return ""
    return "fatal" if all(_failed_by(above, below) for above, below in pairwise(chain)) else "recovered"


def _calls(think: Observed, acts: set[str]) -> Iterator[ToolCall]:
    """Yield the tool calls of a model's answer that no act belongs to."""
    if think.type != "generation":
        return
    for message in messages_in(think.output):
        yield from (call for call in message.calls if call.id is not None and call.id not in acts)


def _cancelled(observation: Observed) -> bool:
    return observation.status_message == "cancelled"


def _dead(observation: Observed) -> bool:
    return not observation.finished and not getattr(observation, "alive", False)


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
