"""A real Phoenix, MLflow and collector: every row is there, with its kind, tokens, texts, session, user and error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from llama_index.core import MockEmbedding, Settings
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import MockLLM

from commands import Lfi
from langfuse_integration import OtlpDestination, configure, langfuse_manager
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_llamaindex import SessionHandler as LlamaIndexHandler
from langfuse_integration_mcp import wrap_session
from peers import trace_servers
from peers.backend import Backend
from peers.mcp_servers import memory_session
from peers.waiting import until
from photographs import chromium, photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.mcp,
    pytest.mark.timeout(1_500),
]

SESSION, USER = "chat-1", "alice"
PHOENIX_KINDS = {
    "generation": "LLM", "agent": "AGENT", "tool": "TOOL", "retriever": "RETRIEVER", "embedding": "EMBEDDING",
    "span": "CHAIN",
}  # fmt: skip


@tool
def search(query: str) -> str:
    """Search articles."""
    return "Hay and grass."


@tool
def broken(query: str) -> str:
    """Fail."""
    raise ValueError("no such field")


class Shelf(BaseRetriever):
    """A retriever of two documents."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document("Hay text", id="d1"), Document("Grass text", id="d2")]


class Scripted(FakeMessagesListChatModel):
    """A chat model with scripted answers that calls itself OpenAI's."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Offer no tools: the answers are scripted."""
        return self

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "gpt-4o", "temperature": 0.2}

    def _get_ls_params(self, stop: Any = None, **options: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}


def usage(given: int, output: int, cached: int = 0) -> Any:
    return {
        "input_tokens": given, "output_tokens": output, "total_tokens": given + output,
        "input_token_details": {"cache_read": cached},
    }  # fmt: skip


class Burnt(LlamaIndexRetriever):
    """A retriever of LlamaIndex that fails."""

    def _retrieve(self, query_bundle: Any) -> Any:
        raise LookupError("the shelf has burnt down")


async def ask_server() -> None:
    """Call two tools of an MCP server, of which one fails."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        await session.call_tool("echo", {"text": "llama"})
        await session.call_tool("fail", {"message": "no hay"})


def converse() -> None:
    """Record a conversation with rows of LangChain, LlamaIndex and MCP, and a failure in each."""
    call: Any = {"name": "search", "args": {"query": "llama food"}, "id": "call_1"}
    model = Scripted(
        responses=[
            AIMessage("", tool_calls=[call], usage_metadata=usage(20, 8, 5)),
            AIMessage("Llamas eat hay.", usage_metadata=usage(40, 9)),
        ]
    )
    agent = create_agent(model, [search], name="librarian")
    options: Any = {"callbacks": [SessionHandler()]}
    Settings.callback_manager = CallbackManager([LlamaIndexHandler()])
    with langfuse_manager.session(SESSION, USER, tags=["beta"]):
        with langfuse_manager.trace_span("question", input="What do llamas eat?") as span:
            answer = agent.invoke({"messages": [HumanMessage("What do llamas eat?")]}, options)
            Shelf().invoke("llama food", options)
            with pytest.raises(ValueError, match="no such field"):
                broken.invoke({"query": "x"}, options)
            span.update(output=answer["messages"][-1].content)
        langfuse_manager.trace_mcp_call("llama-mcp", query="q", response="r", tool="search")
        MockEmbedding(embed_dim=4).get_text_embedding("llama")
        MockLLM(max_tokens=3).complete("llamas eat hay and grass")
        with pytest.raises(LookupError, match="burnt"):
            Burnt().retrieve("llama")
        asyncio.run(ask_server())
    Settings.callback_manager = CallbackManager()


def shown() -> dict[str, dict[str, Any]]:
    """Return every row of the session as `lfi show --json` has it, by id."""
    session = json.loads(Lfi().ok("show", SESSION, "--json"))
    return {row["id"]: row for trace in session["traces"] for row in trace["observations"]}


def totals(row: dict[str, Any]) -> tuple[int, int] | None:
    """Return input and output tokens of a row of `lfi show --json`."""
    buckets: dict[str, int] = row["usage"]
    if not buckets:
        return None
    sides = ("input", "output")
    whole = [sum(count for name, count in buckets.items() if name.startswith(side)) for side in sides]
    return whole[0], whole[1]


@pytest.fixture
def server_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


def test_phoenix_has_what_show_shows(server_folder: Path) -> None:
    """The session read back from Phoenix's API equals `lfi show --json` in rows, parents, tokens, texts and errors."""
    with trace_servers.phoenix(server_folder) as url:
        configure(destinations=[OtlpDestination(url)])
        converse()
        langfuse_manager.flush(30)
        expected = shown()
        found: dict[str, Any] = {}

        def arrived() -> bool:
            answer = trace_servers.fetched(f"{url}/v1/projects/default/spans?limit=100")
            found.update({span["context"]["span_id"]: span for span in answer["data"]})
            return len(found) >= len(expected)

        until(arrived, 60)
        sessions = sessions_of(url)
    assert found.keys() == expected.keys()
    assert len(expected) == 13
    assert sum(row["level"] == "ERROR" for row in expected.values()) == 3
    for identity, row in expected.items():
        span, attributes = found[identity], found[identity]["attributes"]
        assert span["parent_id"] == row["parent_id"]
        assert span["context"]["trace_id"] == row["trace_id"]
        assert span["span_kind"] == PHOENIX_KINDS[row["type"]]
        assert (span["status_code"] == "ERROR") == (row["level"] == "ERROR")
        assert (attributes["session.id"], attributes["user.id"]) == (SESSION, USER)
        tokens = attributes.get("llm.token_count.prompt"), attributes.get("llm.token_count.completion")
        assert tokens == (totals(row) or (None, None))
        assert value_of(attributes.get("input.value")) == row["input"]
        if row["level"] != "ERROR":
            assert value_of(attributes.get("output.value")) == row["output"]
    traces = len({row["trace_id"] for row in expected.values()})
    assert sessions == [{"sessionId": SESSION, "numTraces": traces, "tokenUsage": {"prompt": 60, "completion": 17}}]


def sessions_of(url: str) -> list[dict[str, Any]]:
    """Return the sessions of Phoenix's default project, with their traces and tokens."""
    wanted = "sessionId numTraces tokenUsage { prompt completion }"
    query = f"{{ projects {{ edges {{ node {{ sessions(first: 9) {{ edges {{ node {{ {wanted} }} }} }} }} }} }} }}"
    answer = trace_servers.fetched(f"{url}/graphql", {"query": query})
    projects = [edge["node"] for edge in answer["data"]["projects"]["edges"]]
    return [edge["node"] for project in projects for edge in project["sessions"]["edges"]]


def value_of(text: Any) -> Any:
    """Return what a text stands for: JSON, or itself."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def test_mlflow_has_what_show_shows(server_folder: Path) -> None:
    """Every row in MLflow has its parent, kind, tokens, texts, session, user and error; models that it knows a cost."""
    with trace_servers.mlflow(server_folder) as url:
        configure(destinations=[OtlpDestination(url, headers={"x-mlflow-experiment-id": "0"})], timeout_s=60)
        converse()
        langfuse_manager.flush(90)
        expected = shown()
        found = {row["id"]: row for row in trace_servers.mlflow_rows(url)}
    assert found.keys() == expected.keys()
    for identity, row in expected.items():
        span = found[identity]
        assert span["parent"] == row["parent_id"]
        assert span["kind"] == PHOENIX_KINDS[row["type"]]
        assert span["failed"] == (row["level"] == "ERROR")
        assert (span["session"], span["user"]) == (SESSION, USER)
        tokens = span["tokens"] and (span["tokens"]["input_tokens"], span["tokens"]["output_tokens"])
        assert tokens == totals(row)
        assert span["input"] == row["input"]
        if row["level"] != "ERROR":
            assert span["output"] == row["output"]
        assert bool(span["cost"]) == (row["type"] == "generation" and bool(row["usage"]))


WIDE: Any = {"width": 1500, "height": 640}
PATIENCE_MS = 120_000


@pytest.mark.browser
def test_phoenix_shows_the_tree_to_people(server_folder: Path) -> None:
    """The page of a trace has the tree with its failed step, and a model call with its messages."""
    with trace_servers.phoenix(server_folder) as url:
        configure(destinations=[OtlpDestination(url)])
        converse()
        until(lambda: langfuse_manager.flush(30) and not langfuse_manager.stats.destinations[0].waiting)
        (project,) = trace_servers.fetched(f"{url}/v1/projects")["data"]
        (trace_id,) = {row["trace_id"] for row in shown().values() if row["name"] == "question"}
        with chromium() as browser:
            page = browser.new_page(viewport=WIDE, color_scheme="light")
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{url}/projects/{project['id']}/traces/{trace_id}")
            for name in ("question", "invoke_agent librarian", "execute_tool search", "retrieval Shelf"):
                page.get_by_text(name, exact=True).first.wait_for()
            page.get_by_text("execute_tool broken").first.wait_for()
            page.get_by_text("<$0.01").first.wait_for()  # it prices the model
            page.get_by_text("chat gpt-4o", exact=True).last.click()
            page.get_by_text("Llamas eat hay.").first.wait_for()
            page.get_by_text("Hay and grass.").first.wait_for()
            photograph(page, "phoenix")


@pytest.mark.browser
def test_mlflow_shows_the_tree_to_people(server_folder: Path) -> None:
    """The page of a trace has the tree with tokens and cost, and a model call with its messages."""
    with trace_servers.mlflow(server_folder) as url:
        configure(destinations=[OtlpDestination(url, headers={"x-mlflow-experiment-id": "0"})], timeout_s=60)
        converse()
        until(lambda: langfuse_manager.flush(90) and not langfuse_manager.stats.destinations[0].waiting)
        (trace_id,) = {row["trace"] for row in trace_servers.mlflow_rows(url) if row["name"] == "question"}
        with chromium() as browser:
            page = browser.new_page(viewport=WIDE, color_scheme="light")
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{url}/#/experiments/0/traces?selectedEvaluationId={trace_id}")
            for name in ("invoke_agent librarian", "execute_tool search", "retrieval Shelf", "execute_tool broken"):
                page.get_by_text(name, exact=True).first.wait_for()
            page.get_by_text("chat gpt-4o", exact=True).last.click()
            page.get_by_text("Hay and grass.").first.wait_for()
            photograph(page, "mlflow", clip={"x": 0, "y": 0, "width": 1050, "height": WIDE["height"]})


def test_a_collector_passes_everything_on(server_folder: Path) -> None:
    """A server behind a collector has the rows as a direct destination has them: ids, parents and attributes."""
    with Backend() as direct, Backend() as behind, trace_servers.collector(server_folder, behind.url) as url:
        configure(destinations=[OtlpDestination(url), OtlpDestination(direct.url)])
        converse()
        langfuse_manager.flush(60)
        expected = {span.span_id: span for span in direct.wait_for(len(shown()))}
        found = {span.span_id: span for span in behind.wait_for(len(expected))}
        assert behind.doubled() == {}
    assert found == expected
