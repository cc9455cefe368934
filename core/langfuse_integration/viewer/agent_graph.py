"""The agents and tools of a turn as a graph: who called what, how often, and who thought after whom."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..presentation import agent_of, title_of
from ..reading.replay import Observed, Trace

AGENTS_LIMIT, TOOLS_LIMIT = 20, 40
NAME_CHARACTERS = 30
WIDTH, BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT = 800, 250, 40, 62
AGENTS_X, TOOLS_X, TOP, MARGIN = 130, 545, 12, 6
NOBODY = "no agent"


class GraphNode(NamedTuple):
    """A box: an agent with its thinks, or a tool with its calls.

    Attributes:
        note: what is counted in it.
        failed: whether one of its calls failed.
    """

    name: str
    note: str
    x: int
    y: int
    failed: bool = False


class GraphEdge(NamedTuple):
    """A line between two boxes: its SVG path, its count and where that stands."""

    path: str
    number: int
    x: int
    y: int
    failed: bool
    title: str


class AgentGraph(NamedTuple):
    """Boxes and lines in a drawing of a width and a height.

    Attributes:
        left: where the drawing begins: further right without lines between agents.
        left_out: how many agents and tools did not fit.
    """

    agents: list[GraphNode]
    tools: list[GraphNode]
    calls: list[GraphEdge]
    turns: list[GraphEdge]
    left: int
    width: int
    height: int
    left_out: int


def graph_of(trace: Trace) -> AgentGraph:
    """Return the graph of a trace."""
    thinks: Counter[str] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    turns: Counter[tuple[str, str]] = Counter()
    previous = ""
    for observation, agent in _with_agents(trace):
        if observation.is_think:
            thinks[agent] += 1
            if previous and previous != agent:
                turns[previous, agent] += 1
            previous = agent
        elif observation.type in ("tool", "retriever") and not _wraps(observation):
            pair = agent, str(title_of(observation))
            calls[pair] += 1
            failures[pair] += observation.level == "ERROR"
    names = list(dict.fromkeys([*thinks, *(agent for agent, _ in calls)]))
    tools = list(dict.fromkeys(tool for _, tool in calls))
    rows = max(min(len(names), AGENTS_LIMIT), min(len(tools), TOOLS_LIMIT), 1)
    agent_y, tool_y = _places(names[:AGENTS_LIMIT], rows), _places(tools[:TOOLS_LIMIT], rows)
    return AgentGraph(
        [GraphNode(_short(name), _count(thinks[name], "think"), AGENTS_X, y) for name, y in agent_y.items()],
        [
            GraphNode(
                _short(name),
                _count(sum(count for pair, count in calls.items() if pair[1] == name), "call"),
                TOOLS_X,
                y,
                any(failed for pair, failed in failures.items() if pair[1] == name),
            )
            for name, y in tool_y.items()
        ],
        [
            _call(agent_y[agent], tool_y[tool], count, failures[agent, tool], f"{agent} calls {tool}")
            for (agent, tool), count in calls.items()
            if agent in agent_y and tool in tool_y
        ],
        [
            _order(agent_y[one], agent_y[other], count, f"{one}, then {other}")
            for (one, other), count in turns.items()
            if one in agent_y and other in agent_y
        ],
        0 if turns else AGENTS_X - MARGIN,
        WIDTH if turns else WIDTH - AGENTS_X + MARGIN,
        rows * ROW_HEIGHT + TOP,
        max(len(names) - AGENTS_LIMIT, 0) + max(len(tools) - TOOLS_LIMIT, 0),
    )


def _with_agents(trace: Trace) -> list[tuple[Observed, str]]:
    """Return the observations by their starts, each with the agent that it belongs to."""
    agents: dict[str, str] = {}
    waiting = [(root, "") for root in trace.roots]
    while waiting:
        observation, above = waiting.pop()
        agents[observation.id] = agent_of(observation) or above
        waiting += [(child, agents[observation.id]) for child in observation.children]
    return [(each, agents.get(each.id) or NOBODY) for each in trace.observations]


def _wraps(observation: Observed) -> bool:
    """Return whether a tool only passes a call on, as a framework's tool does for one over MCP."""
    return any(child.type == observation.type for child in observation.children)


def _places(names: list[str], rows: int) -> dict[str, int]:
    """Return where the boxes of a column stand: in the middle of *rows*."""
    above = (rows - len(names)) * ROW_HEIGHT // 2 + TOP
    return {name: above + number * ROW_HEIGHT for number, name in enumerate(names)}


def _call(agent_y: int, tool_y: int, count: int, failed: int, title: str) -> GraphEdge:
    start, end, middle = AGENTS_X + BOX_WIDTH, TOOLS_X, (AGENTS_X + BOX_WIDTH + TOOLS_X) // 2
    from_y, to_y = agent_y + BOX_HEIGHT // 2, tool_y + BOX_HEIGHT // 2
    path = f"M{start},{from_y} C{middle},{from_y} {middle},{to_y} {end},{to_y}"
    return GraphEdge(path, count, end - 22, to_y - 5, bool(failed), title)


def _order(from_y: int, to_y: int, count: int, title: str) -> GraphEdge:
    shift = 8 if to_y > from_y else -8  # there and back are two lines
    start, end = from_y + BOX_HEIGHT // 2 + shift, to_y + BOX_HEIGHT // 2 + shift
    bend = AGENTS_X - (36 if to_y > from_y else 76)
    path = f"M{AGENTS_X},{start} C{bend},{start} {bend},{end} {AGENTS_X - 3},{end}"
    return GraphEdge(path, count, (AGENTS_X + 3 * bend) // 4 - 10, (start + end) // 2, False, title)


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
