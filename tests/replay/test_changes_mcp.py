"""Planted changes of an application with two MCP servers: each is one divergence at its step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession

import langfuse_integration_mcp
from langfuse_integration.testing import replay
from peers.mcp_servers import ClientSide, stdio_session
from replay.recordings import divergences, record

pytestmark = pytest.mark.mcp

CALLBACKS = ("elicitation_callback", "sampling_callback", "list_roots_callback")


@dataclass(frozen=True)
class Chores:
    """An application: calls of two servers, one after the other; a change touches one field."""

    order: tuple[str, ...] = ("echo", "add", "ask", "sample", "roots", "memo", "greet", "barn", "last")
    text: str = "hay"
    more: tuple[tuple[str, Any], ...] = ()
    tool: str = "echo"
    amount: int = 2
    question: str = "Which animal?"
    animal: str | None = "alpaca"
    completion: str = "a tale"
    root: str = "file:///llamas"
    resource: str = "memo://today"
    guest: str = "Lama"
    barn: str = "barn"
    last: str = "tools"
    callbacks: tuple[str, ...] = CALLBACKS

    def run(self, session: Any = None) -> None:
        """Do the chores."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        side = ClientSide(animal=self.animal, completion=self.completion, root=self.root)
        callbacks = {name: callback for name, callback in side.callbacks().items() if name in self.callbacks}
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(stdio_session(name, **callbacks)) for name in ("tools", "barn")]
            for name in self.order:
                await self._do(name, dict(zip(("tools", "barn"), servers, strict=True)))

    async def _do(self, name: str, servers: dict[str, ClientSession]) -> None:
        tools = servers["tools"]
        calls: dict[str, tuple[str, dict[str, Any]]] = {
            "echo": (self.tool, {"text": self.text, **dict(self.more)}),
            "add": ("add", {"a": self.amount, "b": 1}),
            "ask": ("ask", {"question": self.question}),
            "sample": ("sample", {"prompt": "Go on."}),
            "roots": ("roots", {}),
            "further": ("add", {"a": 7, "b": 7}),
            "never": ("log", {"text": "Never recorded."}),
        }
        if name == "memo":
            await tools.read_resource(self.resource)  # type: ignore[arg-type,unused-ignore]
        elif name == "greet":
            await tools.get_prompt("greet", {"name": self.guest})
        elif name in ("barn", "last"):
            await servers[getattr(self, name)].call_tool("echo", {"text": "the same"})
        else:
            await tools.call_tool(*calls[name])


ORDER = Chores.order


def without(*names: str) -> tuple[str, ...]:
    """Return the order without some calls."""
    return tuple(name for name in ORDER if name not in names)


def after(place: str, *names: str) -> tuple[str, ...]:
    """Return the order with further calls after one of it."""
    at = ORDER.index(place) + 1
    return (*ORDER[:at], *names, *ORDER[at:])


CHANGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "an argument": ({"text": "straw"}, 1, "step 1 (echo 1): the input differs"),
    "a further argument": ({"more": (("loud", True),)}, 1, "step 1 (echo 1): the input differs"),
    "another tool": ({"tool": "log"}, 1, "step 1 (echo 1): tools/call log is asked for instead, which is not in the"),
    "a number": ({"amount": 3}, 2, "step 2 (add 1): the input differs"),
    "the text of a question": ({"question": "Who?"}, 3, "step 3 (ask 1): the input differs"),
    "what the user answers": (
        {"animal": "llama"},
        3,
        "step 3 (ask 1): the client's answer to elicitation/create differs",
    ),
    "a user who declines": ({"animal": None}, 3, "step 3 (ask 1): the client's answer to elicitation/create differs"),
    "nobody to ask": (
        {"callbacks": CALLBACKS[1:]},
        3,
        "step 3 (ask 1): the client's answer to elicitation/create differs",
    ),
    "what the client's model says": (
        {"completion": "a poem"},
        4,
        "step 4 (sample 1): the client's answer to sampling/createMessage differs",
    ),
    "no model of the client": (
        {"callbacks": (CALLBACKS[0], CALLBACKS[2])},
        4,
        "step 4 (sample 1): the client's answer to sampling/createMessage differs",
    ),
    "the client's folder": (
        {"root": "file:///alpacas"},
        5,
        "step 5 (roots 1): the client's answer to roots/list differs",
    ),
    "another resource": (
        {"resource": "note://Ada"},
        6,
        "step 6 (memo://today 1): resources/read note://Ada is asked for instead, which is not in the recording",
    ),
    "an argument of a prompt": ({"guest": "Luna"}, 7, "step 7 (greet 1): the input differs"),
    "another server": ({"barn": "tools"}, 8, "step 8 (echo 2): the server tools is asked, recorded was barn"),
    "servers in another order": (
        {"barn": "tools", "last": "barn"},
        9,
        "step 9 (echo 3) was asked for before step 8 (echo 2)",
    ),
    "two calls in another order": (
        {"order": ("add", "echo", *ORDER[2:])},
        2,
        "step 2 (add 1) was asked for before step 1 (echo 1)",
    ),
    "a call that comes last": (
        {"order": (*without("add"), "add")},
        2,
        "step 2 (add 1) was asked for after step 9 (echo 3)",
    ),
    "no call": ({"order": without("echo")}, 1, "step 1 (echo 1) was not asked for"),
    "no question": ({"order": without("ask")}, 3, "step 3 (ask 1) was not asked for"),
    "no questions": (
        {"order": without("ask", "sample", "roots")},
        3,
        "turns 3 to 5 were not asked for (step 3 (ask 1) to step 5 (roots 1))",
    ),
    "a call twice": (
        {"order": after("add", "add")},
        2,
        "after step 2 (add 1): a further tools/call add is asked for",
    ),
    "a further call of a tool": (
        {"order": ("further", *ORDER)},
        2,
        "before step 2 (add 1): a further tools/call add is asked for",
    ),
    "a call that was never made": (
        {"order": after("last", "never")},
        9,
        "after step 9 (echo 3): a further tools/call log is asked for",
    ),
}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    """Trace every session."""
    langfuse_integration_mcp.instrument()
    yield
    langfuse_integration_mcp.uninstrument()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application as it was when its session was recorded."""
    path = tmp_path_factory.mktemp("sessions") / "chores.session.json"
    langfuse_integration_mcp.instrument()
    record(Chores().run, path)
    return path


@pytest.mark.parametrize("count", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_without_a_change_nothing_diverges(recording: Path, count: int) -> None:
    """The application as it was recorded goes the recorded way, in every one of its reruns."""
    for _ in range(count):
        assert divergences(recording, Chores().run) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_at_its_step(recording: Path, change: str) -> None:
    """Each planted change is one divergence, at its own step."""
    changed, step, text = CHANGES[change]
    [(noted_step, noted)] = divergences(recording, replace(Chores(), **changed).run)
    assert noted_step == step
    assert noted.startswith(text)


def test_a_changed_reply_shows_what_differs(recording: Path) -> None:
    """The lines tell the entry of the reply, and the recorded result comes all the same."""
    with replay(recording) as session:
        replace(Chores(), animal="llama").run()
        [divergence] = session.divergences
        session.allow("elicitation/create")
    assert divergence.lines == ["result content:", '- {"animal": "alpaca"}', '+ {"animal": "llama"}']


@pytest.mark.parametrize("edited", [{"exchanges": "words"}, {"exchanges": [{"result": "words"}]}, {"exchanges": None}])
def test_an_answer_that_cannot_be_rebuilt_is_named(recording: Path, tmp_path: Path, edited: dict[str, Any]) -> None:
    """A file whose answer was edited into something else refuses the call, with its step."""
    values = json.loads(recording.read_text())
    values["steps"][0]["answer"].update(edited)
    path = tmp_path / "a.session.json"
    path.write_text(json.dumps(values))
    [(step, text)] = divergences(path, Chores(order=("echo",)).run)
    assert step == 1
    assert text.startswith("step 1 (echo 1): the recorded answer cannot be rebuilt (")
