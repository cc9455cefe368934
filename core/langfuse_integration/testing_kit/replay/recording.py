"""A recorded session as a replay needs it: its turns, and the steps that models, MCP servers and tools answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...reading.conversation import RESUME_KEY, exchange_of
from ...reading.redaction import IN_FILES, Redaction
from ...reading.replay import Observed, SessionReplay, Trace
from .question import LIVE_BY_DEFAULT, QuestionKind

QUESTIONS_OF_SERVERS = ("elicitation", "sampling")
"""Rows in which a server asks the client: the application answers them in a replay, too."""

_OWN: dict[str, QuestionKind] = {kind: kind for kind in LIVE_BY_DEFAULT}
"""The kinds of steps whose rows are of that type."""
TOOL_AROUND = "tool"
"""The entry of an MCP call's exact form with the name of the application's tool that the call makes up."""
OF = "of"
"""The entry of an MCP call's exact form with the server's name."""
SERVER = "server"
"""The entry of an exact form with what belongs to a server and not to one call."""

CONNECTED = "connected"
"""The entry of a server with a number that is greater than that of servers which were connected before."""


@dataclass(slots=True)
class RecordedStep:
    """One call of a model, an MCP server, or a tool, retriever or embedding model of the application.

    Attributes:
        number: of the step in the session, from 1 on.
        turn: the number of its turn, from 1 on.
        agent: the nearest agent above it, or None.
        name: of the row, or the request: `tools/call search`.
        label: how sentences name it: `think 2 of herder`, `search 1 of herder`.
        input: what was asked, as the row shows it.
        exact: the exact form of the answer; None where none was recorded.
        alongside: numbers of the steps that ran at the same time.
        think: the number of the model call that asked for this one, or None.
        inside: the number of the step in which this one ran, such as a tool, a model that asks another one, or an MCP
            call whose server asked; or None.
    """

    number: int
    turn: int
    kind: QuestionKind
    agent: str | None
    name: str
    label: str
    input: Any
    exact: dict[str, Any] | None
    alongside: tuple[int, ...] = ()
    think: int | None = None
    inside: int | None = None

    @property
    def server(self) -> str | None:
        """The name of the MCP server that answered, or None."""
        name = self.exact.get(OF) if self.kind == "mcp" and self.exact is not None else None
        return None if name is None else str(name)

    @property
    def asked(self) -> Any:
        """What is compared: the input, or the arguments of an MCP call, which the tool around it may have made."""
        exchanges = self.exact.get("exchanges") if self.kind == "mcp" and self.exact is not None else None
        first = exchanges[0] if isinstance(exchanges, list) and exchanges else None
        params = first.get("params") if isinstance(first, dict) else None
        if isinstance(params, dict) and self.name.startswith("tools/call "):
            return params.get("arguments") or {}
        return self.input

    @property
    def tool(self) -> str:
        """The name of the application's tool that this call of an MCP server makes up; else of the server's tool."""
        around = self.exact.get(TOOL_AROUND) if self.exact is not None else None
        return self.name.removeprefix("tools/call ") if around is None else str(around)


@dataclass(slots=True)
class RecordedTurn:
    """One run of the application: an input, and what came of it.

    Attributes:
        input, output: of the root row, in plain values.
        text: what the user said last, or the value that an interrupted run is resumed with, as text; None for neither.
        reply: what the application answered, as text, or None.
    """

    number: int
    name: str
    input: Any
    output: Any
    text: str | None
    reply: str | None


@dataclass(slots=True)
class Recording:
    """A session: its turns, its steps, and what belongs to its servers, by their names.

    Attributes:
        redaction: how secrets are hidden in it.
    """

    session_id: str | None
    user_id: str | None
    turns: list[RecordedTurn]
    steps: list[RecordedStep]
    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    redaction: Redaction = IN_FILES

    @property
    def forms(self) -> set[str]:
        """The names of the exact forms in it."""
        return {str(step.exact["form"]) for step in self.steps if step.exact is not None and "form" in step.exact}

    @property
    def incomplete(self) -> list[RecordedStep]:
        """The steps without an exact form of their answer; those that are live by default have one."""
        return [
            step
            for step in self.steps
            if step.kind not in LIVE_BY_DEFAULT and (step.exact is None or "form" not in step.exact)
        ]


def recording_of(replay: SessionReplay) -> Recording:
    """Return the recording of a session that was read from a journal or a fixture."""
    turns: list[RecordedTurn] = []
    found: list[tuple[Observed, int, str | None]] = []
    insides: dict[str, str | None] = {}
    for trace in replay.traces:
        for root in trace.roots:
            turns.append(_turn(len(turns) + 1, root))
            for row, agent, around in _calls(root, None, None):
                found.append((row, len(turns), agent))
                insides[row.id] = around
    found.sort(key=lambda entry: (entry[1], entry[0].started_ns, entry[0].ended_ns))
    recording = Recording(replay.session_id, next(iter(replay.users), None), turns, [])
    counts: Counter[tuple[str | None, str]] = Counter()
    thinks: dict[str, int] = {}
    numbers = {row.id: number for number, (row, _, _) in enumerate(found, 1)}
    alongside = _alongside([row for row, _, _ in found])
    for number, (row, turn, agent) in enumerate(found, 1):
        step = _step(number, turn, row, agent, counts)
        step.alongside = tuple(sorted(alongside[number]))
        thinks[row.id] = number
        step.think = thinks.get(str(row.metadata.get("think_id")))
        step.inside = numbers.get(str(insides[row.id]))
        if step.exact is not None and SERVER in step.exact:
            _add_server(recording.servers, step.exact.pop(SERVER))
        recording.steps.append(step)
    by_connection = sorted(recording.servers.items(), key=lambda item: item[1].pop(CONNECTED, 0))
    recording.servers = dict(by_connection)
    return recording


def _add_server(servers: dict[str, dict[str, Any]], server: dict[str, Any]) -> None:
    """Add what belongs to a server; its first connection counts for the order of the servers."""
    known = servers.setdefault(str(server.get("name")), {})
    connected = min(known.get(CONNECTED, server.get(CONNECTED, 0)), server.get(CONNECTED, 0))
    known.update({**server, CONNECTED: connected})


def _alongside(rows: list[Observed]) -> dict[int, list[int]]:
    """Return the numbers of the rows that overlapped, by the number of each."""
    overlaps: dict[int, list[int]] = {number: [] for number in range(1, len(rows) + 1)}
    running: list[tuple[int, Observed]] = []
    for number, row in sorted(enumerate(rows, 1), key=lambda entry: entry[1].started_ns):
        running = [(earlier, other) for earlier, other in running if row.started_ns < other.ended_ns]
        for earlier, other in running:
            if other.started_ns >= row.ended_ns:
                continue
            overlaps[earlier].append(number)
            overlaps[number].append(earlier)
        running.append((number, row))
    return overlaps


def _turn(number: int, root: Observed) -> RecordedTurn:
    exchange = exchange_of(Trace([*root.walk()]))
    text = exchange.question
    if isinstance(root.input, Mapping) and root.input.get(RESUME_KEY) is not None:
        value = root.input[RESUME_KEY]
        text = value if isinstance(value, str) else text
    return RecordedTurn(number, root.name, root.input, root.output, text, exchange.answer)


def _calls(row: Observed, agent: str | None, around: str | None) -> Iterator[tuple[Observed, str | None, str | None]]:
    """Yield the calls at and below a row, each with the nearest agent above it and the id of the call around it."""
    kind = _kind(row)
    if kind is not None:
        yield row, agent, around
    if kind is not None:
        around = row.id
    if row.type == "agent":
        agent = row.name
    for child in row.children:
        yield from _calls(child, agent, around)


def _kind(row: Observed) -> QuestionKind | None:
    """Return the kind of the step that a row is; one of the application's own needs an exact form to be one."""
    method = row.metadata.get("mcp_method")
    if method and method not in QUESTIONS_OF_SERVERS:
        return "mcp"
    if row.type == "generation":
        return "model"
    return _OWN.get(row.type) if isinstance(row.exact, dict) else None


def request_name(metadata: Mapping[str, Any]) -> str:
    """Return the name of an MCP request from the metadata of its row: method and subject."""
    subject = next((metadata[key] for key in ("mcp_tool", "mcp_resource", "mcp_prompt") if metadata.get(key)), None)
    method = str(metadata["mcp_method"])
    return method if subject is None else f"{method} {subject}"


def _step(
    number: int, turn: int, row: Observed, agent: str | None, counts: Counter[tuple[str | None, str]]
) -> RecordedStep:
    kind = _kind(row) or "model"
    name = request_name(row.metadata) if kind == "mcp" else row.name
    word = name.rpartition(" ")[2] if kind == "mcp" else "think" if kind == "model" and agent is not None else name
    named = agent and str(row.metadata.get("agent_name") or agent)  # in a workflow of agents, its row is the nearest
    counts[named, word] += 1
    label = f"{word} {counts[named, word]}" + (f" of {named}" if named is not None else "")
    exact = dict(row.exact) if isinstance(row.exact, dict) else None
    return RecordedStep(number, turn, kind, agent, name, label, row.input, exact)
