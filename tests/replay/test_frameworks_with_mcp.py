"""Sessions of both frameworks with MCP servers, recorded once and replayed in another process, which reaches nothing.

Each application runs with two providers' clients and over both wires of MCP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peers.mcp_servers import HttpServer
from replay.framework_sessions import Outcomes, names_of, outcomes_of

MARKS = {
    "langchain": [pytest.mark.langchain],
    "llamaindex": [
        pytest.mark.llamaindex,
        # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
        pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    ],
}
APPLICATIONS = {
    "langchain": ("invoke", "ainvoke", "stream", "astream", "agent", "elicitation", "sampling"),
    "llamaindex": (*("chat", "achat", "stream_chat", "astream_chat", "agent", "handoffs", "elicitation", "sampling"),),
}
EVERY = [
    pytest.param(framework, name, marks=MARKS[framework])
    for framework, applications in APPLICATIONS.items()
    for name in names_of(applications)
]
pytestmark = [pytest.mark.mcp, pytest.mark.application]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, mcp_http: HttpServer) -> Callable[[str], Outcomes]:
    """What came of the sessions of a framework, which are recorded and replayed when they are asked for first."""
    made: dict[str, Outcomes] = {}

    def of(framework: str) -> Outcomes:
        if framework == "llamaindex":
            pytest.importorskip("llama_index.llms.anthropic")
            pytest.importorskip("llama_index.tools.mcp")
        if framework not in made:
            made[framework] = outcomes_of(framework, mcp_http.url, tmp_path_factory.mktemp(framework))
        return made[framework]

    return of


@pytest.mark.parametrize(("framework", "name"), EVERY)
def test_the_replay_is_the_same(outcomes: Callable[[str], Outcomes], framework: str, name: str) -> None:
    """Answers, chunks with their ids, events of agents, questions of the server and trees are those recorded."""
    of = outcomes(framework)
    outcome, trees, sentences = of.replayed[name]
    assert sentences == []
    assert [outcome, trees] == of.recorded[name]


def files(folder: Path) -> list[str]:
    """Return the names of the sessions in a folder."""
    return [path.name.removesuffix(".session.json") for path in folder.glob("*.session.json")]


@pytest.mark.langchain
def test_the_recordings_of_langchain_hold_what_they_are_for(outcomes: Callable[[str], Outcomes]) -> None:
    """Streams have more than one chunk, tools ran, the server asked, and every session has its file."""
    folder, recorded, _ = outcomes("langchain")
    assert len(recorded["astream-openai-http"][0][0]) > 5
    assert recorded["stream-anthropic-stdio"][0][0][-1]["chunk_position"] == "last"
    assert recorded["agent-openai-stdio"][0][0][-1][2:] == ["hay", "straw", "Both of them."]
    assert recorded["elicitation-openai-http"][0][1][0][:2] == ["elicitation/create", "Which animal?"]
    assert recorded["sampling-anthropic-http"][0][0][-1] == "A tale."
    assert sorted(files(folder)) == sorted(names_of(APPLICATIONS["langchain"]))


@pytest.mark.llamaindex
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
def test_the_recordings_of_llamaindex_hold_what_they_are_for(outcomes: Callable[[str], Outcomes]) -> None:
    """Streams have more than one piece, both agents speak, the server asks, and every session has its file."""
    folder, recorded, _ = outcomes("llamaindex")
    assert len(recorded["astream_chat-openai-http"][0][2]) > 3
    assert {event[0] for event in recorded["handoffs-anthropic-stdio"][0][0]} == {"host", "herder", "handoff", "echo"}
    assert recorded["elicitation-openai-stdio"][0][1][0][:2] == ["elicitation/create", "Which animal?"]
    assert recorded["sampling-openai-http"][0][0][1] == "A tale."
    assert sorted(files(folder)) == sorted(names_of(APPLICATIONS["llamaindex"]))
