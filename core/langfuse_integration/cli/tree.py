"""The replay of a session: its head, then each trace as a conversation and a tree of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from ..presentation import agent_of, clock, cost_note, cost_of, counted, day, duration, score_value, short_count
from ..reading.archive import RecordedScore, SessionSummary
from ..reading.conversation import conversation_of
from ..reading.folding import FoldedSteps, folded
from ..reading.problems import Problem, problems_of
from ..reading.replay import Observed, Trace
from ..reading.totals import Totals, own, totals_of
from .row import KIND_COLUMNS, Detail, brief, full, label, problem_lines
from .text import fitted, in_one_line, visible, wrapped

TIME_COLUMNS = 11
TOKEN_COLUMNS = 20
COST_COLUMNS = 10
SPEAKER_COLUMNS = 12
SAID_LINES = 4
"""Lines shown of one message; `--full` shows all."""
UTTERANCES_SHOWN = 12
SCORES_SHOWN = 10
PROBLEMS_SHOWN = 3


class Guides(NamedTuple):
    """The guides of trees, three columns each."""

    branch: str = "├─ "
    last: str = "└─ "
    pass_by: str = "│  "
    rule: str = "─"


ASCII = Guides("|- ", "`- ", "|  ", "-")


class Replay:
    """Draws a session as lines of at most *width* columns.

    Args:
        everything: whole payloads and metadata instead of a line of each.
        cost: with a column for the cost.
        guides: what lines are drawn with.
    """

    def __init__(
        self, width: int = 80, *, everything: bool = False, cost: bool = False, guides: Guides | None = None
    ) -> None:
        self._width = width
        self._everything = everything
        self._cost = cost
        self._guides = guides or Guides()
        self._deepest = max(width // 3, 12)

    def head(self, summary: SessionSummary, scores: Sequence[RecordedScore] = ()) -> Iterator[Text]:
        """Yield the head of a session, and its scores."""
        name = "no session" if summary.session_id is None else in_one_line(summary.session_id)
        for line in wrapped(name, self._width):
            yield Text(line, "bold")
        facts = [_users(summary.users), counted(summary.traces, "trace"), counted(summary.observations, "observation")]
        yield from self._facts(facts)
        began, ended = summary.started_ns, summary.ended_ns
        until = clock(ended) if day(began) == day(ended) else f"{day(ended)} {clock(ended)}"
        yield from self._facts([f"{day(began)} {clock(began)} to {until} ({duration(ended - began)})"])
        yield from self._facts(_sums(summary.totals))
        if summary.still_open:
            yield Text(f"{counted(summary.still_open, 'observation')} not ended", "yellow")
        for score in scores[:SCORES_SHOWN]:
            comment = f": {score.comment}" if score.comment else ""
            subject = (
                f" (step {score.span_id})" if score.span_id else f" (trace {score.trace_id})" if score.trace_id else ""
            )
            line = f"score {score.name} {score_value(score.value, score.data_type)}{comment}{subject}"
            yield Text(fitted(in_one_line(line), self._width), "magenta")
        if len(scores) > SCORES_SHOWN:
            yield Text(f"and {counted(len(scores) - SCORES_SHOWN, 'more score')}", "dim")

    def trace(self, number: int, trace: Trace) -> Iterator[Text]:
        """Yield one trace: its time, its problems, its conversation, its steps."""
        yield self._rule(number, trace)
        problems = problems_of(trace)
        yield from self._problems(problems[:PROBLEMS_SHOWN], len(problems) - PROBLEMS_SHOWN)
        yield from self._conversation(trace)
        for root in trace.roots:
            yield from self.tree(root)

    def tree(self, root: Observed) -> Iterator[Text]:
        """Yield an observation and everything below it."""
        guides = self._guides
        waiting: list[tuple[Observed | FoldedSteps, str, str, str]] = [(root, "", "", "")]
        while waiting:
            node, before, below, agent = waiting.pop()
            if isinstance(node, FoldedSteps):
                yield self._fold(node, before)
                continue
            inside = agent_of(node) or agent
            yield self._row(node, before, inside if inside != agent and node.type != "agent" else "")
            inside = inside if node.type == "agent" else agent
            bar = guides.pass_by[:2] if node.children else ""
            for detail in full(node) if self._everything else brief(node):
                yield from self._detail(below, bar, detail)
            children = list(node.children if self._everything else folded(node.children))
            for place, child in enumerate(reversed(children)):
                joint, rest = (guides.last, "   ") if place == 0 else (guides.branch, guides.pass_by)
                waiting.append((child, below + joint, below + rest, inside))

    def problems(self, number: int, trace: Trace) -> Iterator[Text]:
        """Yield all problems of a trace."""
        problems = problems_of(trace)
        if problems:
            yield self._rule(number, trace)
            yield from self._problems(problems, 0)

    def steps(self, number: int, trace: Trace, observations: Iterable[Observed]) -> Iterator[Text]:
        """Yield some observations of a trace, without the tree around them."""
        yield self._rule(number, trace)
        for observation in observations:
            yield self._row(observation, "", agent_of(observation) if observation.type != "agent" else "")
            yield Text(f"{' ' * KIND_COLUMNS} {observation.id}", "dim")
            for detail in full(observation) if self._everything else brief(observation):
                yield from self._detail("", "", detail)

    def _rule(self, number: int, trace: Trace) -> Text:
        left = f"{self._guides.rule * 2} {number} {self._guides.rule} {clock(trace.started_ns)} "
        columns = self._columns(duration(trace.ended_ns - trace.started_ns), totals_of(trace.observations))
        fill = self._width - cell_len(left) - cell_len(columns.plain)
        line = Text(left, "bold")
        line.append(self._guides.rule * max(fill - 1, 0) + " ", "dim")
        line += columns
        line.rstrip()
        return line

    def _conversation(self, trace: Trace) -> Iterator[Text]:
        utterances = conversation_of(trace)
        user = next((each.user_id for each in trace.observations if each.user_id), None)
        for place, utterance in enumerate(utterances):
            left_out = len(utterances) - UTTERANCES_SHOWN
            if left_out > 0 and place == UTTERANCES_SHOWN // 2 and not self._everything:
                yield Text(f"{' ' * SPEAKER_COLUMNS}  and {left_out} more in between", "dim")
            if left_out > 0 and 0 <= place - UTTERANCES_SHOWN // 2 < left_out and not self._everything:
                continue
            if utterance.role in ("user", "request"):
                yield from self._line_of(
                    (user or "user") if utterance.role == "user" else "request", utterance.text, "yellow"
                )
            else:
                speaker = utterance.speaker or ("assistant" if utterance.role == "assistant" else "result")
                yield from self._line_of(speaker, utterance.text, "bold")
        if utterances:
            yield Text()

    def _line_of(self, speaker: str, words: str, style: str) -> Iterator[Text]:
        name = fitted(in_one_line(speaker), SPEAKER_COLUMNS)
        lines = wrapped(visible(words), self._width - SPEAKER_COLUMNS - 2, None if self._everything else SAID_LINES)
        for index, line in enumerate(lines):
            start = name + " " * (SPEAKER_COLUMNS - cell_len(name)) if index == 0 else " " * SPEAKER_COLUMNS
            yield Text.assemble((start, style), "  ", line)

    def _problems(self, problems: list[Problem], left_out: int) -> Iterator[Text]:
        for problem in problems:
            for detail in problem_lines(problem):
                yield from self._detail("", "", detail)
        if left_out > 0:
            yield Text(f"{' ' * KIND_COLUMNS} and {left_out} more: --errors", "dim")
        if problems:
            yield Text()

    def _fold(self, fold: FoldedSteps, before: str) -> Text:
        text = f"{self._squeezed(before)}{fold}"
        return Text(fitted(text, self._width), "dim")

    def _row(self, observation: Observed, before: str, agent: str) -> Text:
        before = self._squeezed(before)
        time = duration(observation.ended_ns - observation.started_ns) if observation.finished else ""
        columns = self._columns(time, own(observation))
        name = label(observation, max(self._width - cell_len(before) - cell_len(columns.plain) - 1, 8), agent)
        gap = self._width - cell_len(before) - cell_len(name.plain) - cell_len(columns.plain)
        row = Text.assemble((before, "dim"), name, " " * max(gap, 1), columns)
        row.rstrip()
        return row

    def _detail(self, before: str, bar: str, detail: Detail) -> Iterator[Text]:
        before = self._squeezed(before) + bar
        columns = KIND_COLUMNS - len(bar)
        room = self._width - cell_len(before) - columns - 1
        word = fitted(detail.word, columns).ljust(columns)
        lines = wrapped(detail.text, room) if self._everything else [fitted(detail.text, room)]
        for index, line in enumerate(lines):
            start = word if index == 0 else " " * columns
            yield Text.assemble((before, "dim"), (start + " ", "dim"), (line, detail.style))

    def _squeezed(self, before: str) -> str:
        """Return the guides of a row, the outer levels cut where a deep row needs the room."""
        if cell_len(before) <= self._deepest:
            return before
        return "… " + before[-(self._deepest - 2) :]

    def _columns(self, time: str, totals: Totals) -> Text:
        text = Text(time.rjust(TIME_COLUMNS), "dim")
        text.append(_tokens(totals).rjust(TOKEN_COLUMNS), "dim")
        if self._cost:
            text.append(cost_of(totals).rjust(COST_COLUMNS), "dim")
        return text

    def _facts(self, facts: list[str]) -> Iterator[Text]:
        for line in wrapped(", ".join(facts), self._width):
            yield Text(line, "dim")


def _users(users: tuple[str, ...]) -> str:
    if not users:
        return "no user"
    named = ", ".join(in_one_line(user) for user in users[:5])
    return f"{'user' if len(users) == 1 else 'USERS MIXED:'} {named}{', ...' if len(users) > 5 else ''}"


def _sums(totals: Totals) -> list[str]:
    facts = []
    if totals.tokens:
        facts += [f"{totals.tokens_in:,} tokens in", f"{totals.tokens_out:,} out"]
    if totals.cost_usd is not None:
        note = cost_note(totals)
        facts.append(f"{cost_of(totals)} ({note})" if note else cost_of(totals))
    return [*facts, counted(totals.errors, "error") if totals.errors else "no errors"]


def _tokens(totals: Totals) -> str:
    if not totals.tokens:
        return ""
    if not (totals.tokens_in or totals.tokens_out):
        return f"{short_count(totals.tokens)} tokens"
    return f"{short_count(totals.tokens_in)} in {short_count(totals.tokens_out):>5} out"
