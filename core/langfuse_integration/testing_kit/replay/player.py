"""ReplaySession: answers the calls of an application from a recording, and notes where it goes another way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...encoding.fields import Fields
from ...encoding.media import MediaSieve
from ...encoding.observed import parsed
from ...errors import NotRecorded, ReplayDiverged
from ...internals import forks
from ...settings import settings
from .differences import InputChange, changes_of, entry_changes
from .divergence import Divergence, DivergenceKind
from .fork import ForkPoint
from .matching import CallPlace, Match, Matcher
from .order import Asking, moved_steps
from .places import agent_above, flow_here
from .question import LIVE_BY_DEFAULT, Question, QuestionKind
from .recorded_errors import recorded_error
from .recording import RecordedStep, Recording
from .sentences import as_recorded, named, word
from .turns import ReplayTurns
from .volatile import VolatileParts

RERECORD = "Run pytest --rerecord to record the session anew."
NOT_EXACT = "Record it where LANGFUSE_INTEGRATION_REPLAYABLE is on."


class ReplaySession:
    """One replay. Adapters ask `answer`; tests use the rest.

    Args:
        recording: answers the calls.
        live: kinds of calls that go on live: `model`, `mcp`, `tool`, `retriever`, `embedding`.
        fork: where the replay ends and the application goes on live.
        ignored: regular expressions of further volatile parts.

    Attributes:
        turns: the recorded turns, in order.
        servers: what was recorded of each MCP server beside its calls, by name.
        recorded: what the application does in this replay, as `recorded_sessions()` gives it; None for a fork.
    """

    def __init__(
        self,
        recording: Recording,
        live: Iterable[str] = (),
        fork: ForkPoint | None = None,
        ignored: Iterable[str] = (),
    ) -> None:
        self.recording = recording
        self.servers = recording.servers
        self.recorded: Any = None
        self.turns = ReplayTurns(recording.turns, len(recording.turns), self._begin)
        self._live = frozenset(live)
        self._fork = fork or ForkPoint()
        self._rules = VolatileParts(ignored)
        self._fields = Fields(mask=settings().mask, media=MediaSieve().sift)
        self._matcher = Matcher(recording.steps, self._rules.key)
        self._agents = {step.agent for step in recording.steps} - {None}
        self._renamed: dict[str | None, str | None] = {}
        self._turn: range | None = None
        self._last: RecordedStep | None = None
        self._seen: set[tuple[str, str | None, str | None]] = set()
        self._refusals: list[str] = []
        self._askings: list[Asking] = []
        self._found: list[Divergence] = []
        self._allowed: list[int | str] = []
        self._lock = forks.Lock(reentrant=True)

    # -- for tests

    @property
    def divergences(self) -> list[Divergence]:
        """The divergences so far that are not allowed, by their steps."""
        return [
            each for each in self.all_divergences if not any(each.is_meant_by(allowed) for allowed in self._allowed)
        ]

    def allow(self, *wanted: int | str) -> None:
        """Allow divergences.

        Args:
            wanted: numbers of steps, or parts of the sentences: a label, the changed text.
        """
        self._allowed += wanted

    def ignore(self, *patterns: str) -> None:
        """Do not compare what these regular expressions match, from here on."""
        for pattern in patterns:
            self._rules.add(pattern)

    @property
    def all_divergences(self) -> list[Divergence]:
        """Every divergence, also those that are allowed."""
        return sorted(self._found, key=lambda divergence: divergence.step)

    def finish(self) -> None:
        """Note the steps that were not asked for.

        Raises:
            ReplayDiverged: there are divergences that are not allowed.
        """
        self._note_order()
        if not self._fork.exists:
            self._note_missing()
        if self.divergences:
            raise ReplayDiverged([str(each) for each in self.divergences])

    # -- for adapters

    @property
    def may_go_live(self) -> bool:
        """Whether calls may go on live later: servers have to be reachable then."""
        return self._fork.exists

    @property
    def is_live(self) -> bool:
        """Whether the fork was reached: every further call goes on live."""
        return self._fork.reached

    def goes_live(self, kind: QuestionKind) -> bool:
        """Return whether calls of this kind always go on live."""
        return kind in self._live and not self._fork.answers_any(kind)

    def unanswered(self, problem: str) -> NotRecorded:
        """Return the exception for a recorded answer that does not fit the call, and note the divergence."""
        with self._lock:
            return self._refused("missing", problem, RERECORD, self._last)

    def answer(self, question: Question) -> dict[str, Any] | None:
        """Return the exact form of the recorded answer; None for a call that goes on live.

        Raises:
            NotRecorded: the recording has no answer to it.
        """
        with self._lock:
            if self._fork.reached or self.goes_live(question.kind):
                return None
            value = self._asked(question)
            agent = agent_above(question.observation, self._agents)
            place = self._place(question, agent)
            if place.kind == "tool" and self._is_of_server(place):
                return None
            if agent != place.agent:
                value = as_recorded(value, agent, place.agent)
            match = self._matcher.match(place, value, self._turn)
            if question.kind in self._live:  # only the steps that get another answer are not
                step = match.step if match is not None else None
                return self._form(step) if step is not None and self._fork.other_answer(step) is not None else None
            if match is None:
                return self._further(question, place, value)
            step = match.step
            if self._fork.at(step):
                return None
            self._askings.append(Asking(step, flow_here()))
            self._compare(question, match, value)
            self._last = step
            if step.kind in LIVE_BY_DEFAULT:
                self._matcher.use_inside(step)
            return self._form(step)

    def error(self, form: Mapping[str, Any]) -> Exception:
        """Return an exception like the recorded one in *form*; its class has to be loaded already."""
        return recorded_error(form)

    def refuse_connection(self, address: str) -> NotRecorded | None:
        """Return the exception for a connection to *address*; None where calls are live."""
        if self._live - LIVE_BY_DEFAULT or self._fork.reached or self._fork.is_next(self._is_done):
            return None
        problem = f"a connection to {address} is opened, which no recorded step answers"
        cure = "A replay opens no connection: replace what opens it in the test."
        return self._refused("network", problem, cure)

    # -- asking

    def _asked(self, question: Question) -> Any:
        value = question.input
        if value is None and question.observation is not None:
            value = question.observation.input
        return parsed(self._fields.text(value))

    def _place(self, question: Question, agent: str | None) -> CallPlace:
        """Return the place of a call; an agent that the recording does not know stands for one that it knows."""
        request = question.name if question.kind != "model" else None
        if agent in self._renamed:
            return CallPlace(question.kind, self._renamed[agent], request)
        known = any(step.kind == question.kind and step.agent == agent for step in self.recording.steps)
        step = None if known else self._matcher.anywhere(question.kind, request, self._turn)
        if step is None:
            return CallPlace(question.kind, agent, request)
        self._renamed[agent] = step.agent
        if not any(each.agent == agent for each in self.recording.steps):
            called = "no agent" if agent is None else agent
            text = f"{named(step)}: {called} asks, recorded was {step.agent or 'no agent'}"
            self._note("agent", step, text)
        return CallPlace(question.kind, step.agent, request)

    def _is_of_server(self, place: CallPlace) -> bool:
        """Return whether a tool is but a call of an MCP server, which answers for it."""
        steps = [step for step in self.recording.steps if step.agent == place.agent]
        if any(step.kind == "tool" and step.name == place.request for step in steps):
            return False
        return any(step.kind == "mcp" and step.tool == place.request for step in steps)

    def _is_done(self, step: RecordedStep) -> bool:
        """Return whether a step has answered, or need not."""
        return step.kind in self._live or self._matcher.is_used(step)

    def _compare(self, question: Question, match: Match, value: Any) -> None:
        step = match.step
        scope = step.agent or "" if step.kind == "model" else step.label
        changes = [] if match.same else changes_of(step.input, value, self._rules, scope)
        recorded = (step.exact or {}).get("asked")
        if question.settings and isinstance(recorded, dict):
            changes += entry_changes(recorded, parsed(self._fields.text(question.settings)), self._rules, scope)
        new = [change for change in changes if change.identity not in self._seen and not self._is_ours(change)]
        self._seen.update(change.identity for change in changes)
        if new:
            part = "input" if any(not change.where.startswith("the ") for change in new) else new[0].where[4:]
            text = f"{named(step)}: the {part} differs"
            self._note("differs", step, text, [line for change in new for line in change.lines()])

    def _is_ours(self, change: InputChange) -> bool:
        """Return whether a change is but the text of an exception that this replay raised."""
        return any(refusal in (change.after or "") for refusal in self._refusals)

    def _form(self, step: RecordedStep) -> dict[str, Any]:
        form = self._fork.other_answer(step)
        if form is not None:
            return {**(step.exact or {}), "replaced": form}
        if step.exact is None or "form" not in step.exact:
            problem = "the recording has no exact answer"
            if step.exact and "too_large" in step.exact:
                problem = f"the answer was too large to be recorded ({step.exact['too_large']:,} bytes)"
            raise self._refused("missing", problem, NOT_EXACT, step)
        return step.exact

    def _further(self, question: Question, place: CallPlace, value: Any) -> dict[str, Any] | None:
        """Answer a call for which its place has no step left, or raise."""
        if self._fork.is_next(self._is_done):
            self._fork.reached = True
            return None
        step = self._matcher.taken_by_another(place, value)
        if step is not None:
            self._found = [each for each in self._found if (each.kind, each.step) != ("differs", step.number)]
            text = f"before {named(step)}: a further {word(question, place)} is asked for"
            self._note("further", step, text)
            return self._form(step)
        expected = self._matcher.expected(question.kind, place.agent, self._turn)
        if expected is not None and question.kind != "model":
            self._matcher.use(expected)
            problem = f"{question.name} is asked for instead, which is not in the recording"
            raise self._refused("replaced", problem, RERECORD, expected)
        raise self._refused("further", f"a further {word(question, place)} is asked for", RERECORD)

    def _refused(self, kind: DivergenceKind, problem: str, cure: str, step: RecordedStep | None = None) -> NotRecorded:
        place = named(step) if step is not None else f"after {named(self._last)}" if self._last else "at the start"
        error = NotRecorded(place, problem, cure)
        text = f"{place}: {problem}"
        if not any(each.text == text for each in self._found):
            self._note(kind, step or self._last, text)
        self._refusals.append(problem)
        return error

    def _note(self, kind: DivergenceKind, step: RecordedStep | None, text: str, lines: Iterable[str] = ()) -> None:
        number, label = (step.number, step.label) if step is not None else (0, "")
        self._found.append(Divergence(kind, number, label, text, list(lines)))

    # -- turns

    def _begin(self, turns: range) -> None:
        self._turn = turns

    def _note_order(self) -> None:
        """Note the steps that were asked for in another order than recorded."""
        for step, other, is_early in moved_steps(self._askings):
            where = "before" if is_early else "after"
            self._note("order", step, f"{named(step)} was asked for {where} {named(other)}")
        self._askings.clear()

    def _has_to_answer(self, step: RecordedStep) -> bool:
        return step.exact is not None and step.kind not in self._live

    def _note_missing(self) -> None:
        """Note the steps that were not asked for."""
        unused = [step for step in self._matcher.unused() if self._has_to_answer(step)]
        for turn in dict.fromkeys(step.turn for step in unused):
            missing = [step for step in unused if step.turn == turn]
            whole = sum(step.turn == turn and self._has_to_answer(step) for step in self.recording.steps)
            for step in missing:
                self._matcher.use(step)
            if len(missing) == whole and whole > 1:
                text = f"turn {turn} was not asked for ({named(missing[0])} to {named(missing[-1])})"
                self._note("missing", missing[0], text)
                continue
            for step in missing:
                self._note("missing", step, f"{named(step)} was not asked for")
