"""ReplaySession: answers the calls of an application from a recording, and notes where it goes another way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...encoding.fields import Fields
from ...encoding.media import MediaSieve
from ...encoding.observed import parsed
from ...errors import NotRecorded, ReplayDiverged
from ...internals import forks
from ...reading.volatile import VolatileParts
from ...settings import settings
from .call_places import CallPlaces
from .differences import InputChange, changes_of, entry_changes
from .divergence import Divergence, DivergenceKind, Divergences
from .fork import ForkPoint
from .inputs import ComparedInput, Inputs
from .matching import Call, Match, Matcher
from .missing import Shortened, missing_in
from .order import Asking, moved_steps
from .places import agent_above, flow_of
from .question import LIVE_BY_DEFAULT, Question, QuestionKind
from .recorded_errors import recorded_error
from .recording import RecordedStep, Recording
from .sentences import named, word
from .turns import ReplayTurns

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
        servers: what was recorded of each MCP server beside its calls, by name, in the order of their connection.
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
        self._rules = VolatileParts(ignored, recording.redaction)
        self._fields = Fields(mask=settings().mask, media=MediaSieve().sift)
        self._inputs = Inputs(self._rules, self._fields)
        self._matcher = Matcher(recording.steps, lambda step: self._inputs.recorded(step.asked))
        self._places = CallPlaces(recording, self._matcher)
        self._by_form = {id(step.exact): step for step in recording.steps}
        self._turn: range | None = None
        self._last: RecordedStep | None = None
        self._seen: set[tuple[str, str | None, str | None]] = set()
        self._shortened = Shortened()
        self._refusals: list[str] = []
        self._askings: list[Asking] = []
        self._found = Divergences()
        self._lock = forks.Lock()

    # -- for tests

    @property
    def divergences(self) -> list[Divergence]:
        """The divergences so far that are not allowed, by their steps."""
        return self._found.unwanted

    def allow(self, *wanted: int | str) -> None:
        """Allow divergences.

        Args:
            wanted: numbers of steps, or parts of the sentences: a label, the changed text.
        """
        self._found.allow(wanted)

    def ignore(self, *patterns: str) -> None:
        """Do not compare what these regular expressions match, from here on."""
        with self._lock:
            for pattern in patterns:
                self._rules.add(pattern)
            self._inputs.forget()
            self._matcher.forget()

    @property
    def all_divergences(self) -> list[Divergence]:
        """Every divergence, also those that are allowed."""
        return self._found.all

    def finish(self) -> None:
        """Note the steps that were not asked for.

        Raises:
            ReplayDiverged: there are divergences that are not allowed.
        """
        with self._lock:
            self._note_order()
            if not self._fork.exists:
                self._note_missing()
        if unwanted := [str(each) for each in self.divergences]:
            raise ReplayDiverged(unwanted)

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

    def unanswered(self, problem: str, form: Mapping[str, Any] | None = None) -> NotRecorded:
        """Return the exception for a recorded answer that does not fit the call, and note the divergence."""
        with self._lock:
            return self._refused("missing", problem, RERECORD, self._by_form.get(id(form), self._last))

    def answer(self, question: Question) -> dict[str, Any] | None:
        """Return the exact form of the recorded answer; None for a call that goes on live.

        Raises:
            NotRecorded: the recording has no answer to it.
        """
        with self._lock:
            if self._fork.reached or self.goes_live(question.kind):
                return None
            agent = agent_above(question.observation, self._places.agents)
            place, renamed = self._places.find(question, agent, self._turn)
            if renamed is not None:
                called = "no agent" if agent is None else agent
                text = f"{named(renamed)}: {called} asks, recorded was {renamed.agent or 'no agent'}"
                self._found.note("agent", renamed, text)
            if place.kind == "tool" and self._places.is_of_server(place):
                return None
            asked = self._inputs.asked(question.value, (agent, place.agent) if agent != place.agent else None)
            call = Call(place, asked, self._turn, question.server)
            match = self._matcher.match(call)
            if question.kind in self._live:  # only the steps that get another answer are not
                is_other = match is not None and self._fork.other_answer(match.step) is not None
                return self._form(match.step) if match is not None and is_other else None
            if match is None:
                return self._further(question, call)
            step = match.step
            if self._fork.at(step):
                return None
            if match.after_further:
                self._note_further(question, call, step)
            else:
                self._compare(question, match, asked)
            self._last = step
            if step.kind != "mcp":  # a client still answers what its server asks
                self._matcher.use_inside(step)
            return self._form(step)

    def compare(self, form: Mapping[str, Any], part: str, recorded: Any, now: Any) -> None:
        """Compare a part of a call which is not its input, and which shows once the call is answered.

        Args:
            form: what `answer` has returned.
            part: as sentences name it: `client's answer to elicitation/create`.
            recorded, now: mappings in plain values; an entry `error` stands for a refusal.
        """
        with self._lock:
            step = self._by_form.get(id(form))
            if step is None:
                return
            value = parsed(self._fields.text(now))
            self._note_changes(step, entry_changes(recorded, value, self._rules, f"{step.label} {part}"), part)
            if "error" in value and "error" not in recorded:
                self._matcher.use_inside(step)  # what the recorded answer took was not needed

    def error(self, form: Mapping[str, Any]) -> Exception:
        """Return an exception like the recorded one in *form*; its class has to be loaded already."""
        return recorded_error(form)

    def refuse_connection(self, address: str) -> NotRecorded | None:
        """Return the exception for a connection to *address*; None where calls are live."""
        if self._live - LIVE_BY_DEFAULT or self._fork.reached or self._fork.is_next(self._is_done):
            return None
        problem = f"a connection to {address} is opened, which no recorded step answers"
        return self._refused("network", problem, "A replay opens no connection: replace what opens it in the test.")

    # -- asking

    def _begin(self, turns: range) -> None:
        self._turn = turns

    def _is_done(self, step: RecordedStep) -> bool:
        """Return whether a step has answered, or need not."""
        return step.kind in self._live or self._matcher.is_used(step)

    def _compare(self, question: Question, match: Match, asked: ComparedInput) -> None:
        step = match.step
        if question.server_is_certain and step.server not in (None, question.server):
            text = f"{named(step)}: the server {question.server} is asked, recorded was {step.server}"
            self._found.note("server", step, text)
        else:
            self._askings.append(Asking.now(step, flow_of(question.observation)))
        scope = step.agent or "" if step.kind == "model" else f"{step.agent or ''} {step.name}"
        before = self._matcher.key_of(step)
        changes = [] if match.same else changes_of(before, asked, scope)
        recorded = (step.exact or {}).get("asked")
        if question.settings and isinstance(recorded, dict):
            now = parsed(self._fields.text(question.settings))
            changes += entry_changes(recorded, now, self._rules, scope)
        if changes and all(change.is_removal for change in changes):
            self._shortened.note(step, before, asked)
        self._note_changes(step, changes)

    def _note_changes(self, step: RecordedStep, changes: list[InputChange], part: str = "") -> None:
        """Note the changes that were not seen in an earlier step."""
        new = [change for change in changes if change.identity not in self._seen and not self._is_ours(change)]
        self._seen.update(change.identity for change in changes)
        if new:
            is_input = any(not change.where.startswith("the ") for change in new)
            text = f"{named(step)}: the {part or ('input' if is_input else new[0].where[4:])} differs"
            self._found.note("differs", step, text, [line for change in new for line in change.lines()])

    def _is_ours(self, change: InputChange) -> bool:
        """Return whether a change is but the text of our own exception."""
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

    def _note_further(self, question: Question, call: Call, step: RecordedStep) -> None:
        """Note the further call that took a step before."""
        self._found.withdraw({"differs", "replaced"}, {step.number})
        self._askings = [asking for asking in self._askings if asking.step is not step]
        self._askings.append(Asking.now(step, flow_of(question.observation)))
        text = f"before {named(step)}: a further {word(question, call.place)} is asked for"
        self._found.note("further", step, text)

    def _further(self, question: Question, call: Call) -> dict[str, Any] | None:
        """Let a call for which its place has no step left go on live after a fork, or raise."""
        if self._fork.is_next(self._is_done):
            self._fork.reached = True
            return None
        expected = self._matcher.expected(question.kind, call.place.agent, self._turn)
        again = self._matcher.was_asked(call.place, call.asked)
        if expected is not None and question.kind != "model" and not again:
            self._matcher.use(expected, instead=True)
            instead = f"{question.name} is asked for instead, which is not in the recording"
            raise self._refused("replaced", instead, RERECORD, expected)
        raise self._refused("further", f"a further {word(question, call.place)} is asked for", RERECORD)

    def _refused(self, kind: DivergenceKind, problem: str, cure: str, step: RecordedStep | None = None) -> NotRecorded:
        place = named(step) if step is not None else f"after {named(self._last)}" if self._last else "at the start"
        error = NotRecorded(place, problem, cure)
        self._found.note(kind, step or self._last, f"{place}: {problem}")
        self._refusals.append(problem)
        return error

    # -- the end

    def _note_order(self) -> None:
        """Note the steps that were asked for in another order than recorded."""
        for step, text in moved_steps(self._askings, self.recording.steps):
            self._found.note("order", step, text)
        self._askings.clear()

    def _note_missing(self) -> None:
        """Note the steps that were not asked for."""
        steps = self.recording.steps
        expected = [step for step in steps if step.exact is not None and step.kind not in self._live]
        for missing in missing_in(expected, [step for step in expected if not self._matcher.is_used(step)]):
            self._found.note("missing", missing.steps[0], str(missing))
            for step in missing.steps:
                self._matcher.use(step)
            shortened = self._shortened.explained_by(missing, steps, self._matcher.key_of)
            self._found.withdraw({"differs"}, shortened)
