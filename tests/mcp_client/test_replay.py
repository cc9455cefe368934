"""A recorded session with MCP servers is replayed without them: no process is started, no socket opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.stdio import stdio_client

from langfuse_integration import langfuse_manager
from langfuse_integration.errors import NotRecorded, ReplayDiverged, SeamMoved, UnfitAnswer
from langfuse_integration.testing import replay
from peers.mcp_servers import VERSION, ClientSide, HttpServer, is_error, stdio_parameters, text_of

from .replays import Wire, again, record

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


@pytest.fixture(params=["stdio", "http"])
def wire(request: pytest.FixtureRequest, mcp_http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Both transports, with every session traced."""
    return Wire(request.param, mcp_http.url, monkeypatch)


def form(result: Any) -> Any:
    """Return a result as the protocol's JSON."""
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def test_every_kind_of_request(wire: Wire, tmp_path: Path) -> None:
    """Tools, resources, prompts, completions and listings give the same results, errors and rows."""

    async def application() -> list[Any]:
        answers: list[Any] = []
        async with wire.connect() as session:
            answers.append(form(await session.list_tools()))
            answers.append(form(await session.call_tool("echo", {"text": "hello"})))
            answers.append(form(await session.call_tool("add", {"a": 1, "b": 2})))
            answers.append(form(await session.call_tool("echo", {"text": "again"})))
            failed = await session.call_tool("fail", {"message": "no luck"})
            assert is_error(failed)
            answers.append(form(failed))
            answers.append(form(await session.read_resource("memo://today")))
            answers.append(form(await session.list_resources()))
            answers.append(form(await session.list_prompts()))
            await session.send_ping()
            answers.append(form(await session.get_prompt("greet", {"name": "Lama"})))
        return answers

    before = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == before
    assert len(before[1]) > 5


@pytest.mark.skipif(VERSION == 1, reason="mcp 1 makes a result of it")
async def test_an_error_of_the_protocol(wire: Wire, tmp_path: Path) -> None:
    """The SDK raises the same exception: code, message and data."""
    from mcp import MCPError

    async def application() -> Any:
        async with wire.connect() as session:
            with pytest.raises(MCPError) as caught:
                await session.call_tool("reject", {"code": -32055})
            return caught.value.error.code, caught.value.error.message, caught.value.error.data

    before = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == before
    assert before[0][0] == -32055


async def test_a_server_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose server died raises the same error of a closed connection, and does not wait."""
    wire = Wire("stdio", "", monkeypatch)
    codes: list[Any] = []

    async def application() -> Any:
        try:
            async with wire.connect() as session:
                await session.call_tool("crash", {})
        except BaseException as error:  # noqa: BLE001  the transports' task groups wrap it
            inner = error
            while isinstance(inner, BaseExceptionGroup):
                inner = inner.exceptions[0]
            codes.append((type(inner).__name__, inner.error.code))  # type: ignore[attr-defined]

    _, trees = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == (None, trees)
    assert codes[0] == codes[1]
    assert codes[0][1] == -32000


async def test_questions_of_the_server(wire: Wire, tmp_path: Path) -> None:
    """Elicitation, sampling, roots, logs and progress go through the client's own callbacks, in their order."""
    sides: list[ClientSide] = []

    async def application() -> Any:
        side = ClientSide(probe=lambda: langfuse_manager.current_session_id)
        sides.append(side)
        heard: list[Any] = []

        async def progress(*values: Any) -> None:
            heard.append(values)

        async with wire.connect(**side.callbacks()) as session:
            texts = [
                text_of(await session.call_tool("ask", {"question": "Which?"})),
                text_of(await session.call_tool("sample", {"prompt": "Go on"})),
                text_of(await session.call_tool("roots", {})),
                text_of(await session.call_tool("log", {"text": "a line"})),
                text_of(await session.call_tool("slow", {"seconds": 0.04}, progress_callback=progress)),
            ]
        return texts, side.seen, heard

    before = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == before
    (texts, seen, heard), trees = before
    assert texts[:2] == ["accept alpaca", "a sampled text"]
    assert [method for method, *_ in seen] == [
        "elicitation/create",
        "sampling/createMessage",
        "roots/list",
        "notifications/message",
    ]
    assert len(heard) == 4
    assert trees[0] == [{"tool tools.ask": ["span tools.elicitation"]}]


async def test_calls_at_the_same_time(wire: Wire, tmp_path: Path) -> None:
    """Each of twenty concurrent calls gets its own answer, whatever order they come in."""

    def application(order: int) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            async with wire.connect() as session:
                numbers = list(range(20))[::order]
                results = await asyncio.gather(*(session.call_tool("add", {"a": n, "b": n}) for n in numbers))
                return sorted((n, text_of(result)) for n, result in zip(numbers, results, strict=True))

        return ask

    answer, _ = await record(application(1), tmp_path / "a.session.json")
    wire.cut()
    same, _ = await again(application(1), tmp_path / "a.session.json")
    assert same == answer == [(n, str(n + n)) for n in range(20)]


async def test_what_is_not_recorded_raises(wire: Wire, tmp_path: Path) -> None:
    """A call that the recording does not have raises NotRecorded where it is made, and never reaches a server."""

    def application(tool: str) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            async with wire.connect() as session:
                await session.call_tool("echo", {"text": "hello"})
                return text_of(await session.call_tool(tool, {"a": 1, "b": 2}))

        return ask

    await record(application("add"), tmp_path / "a.session.json")
    wire.cut()
    errors: list[BaseException] = []

    async def ask() -> None:
        with replay(tmp_path / "a.session.json"):
            try:
                await application("slow")()
            except BaseException as error:  # noqa: BLE001  the transports' task groups wrap it
                errors.append(error)

    with pytest.raises(ReplayDiverged, match="slow"):
        await ask()
    [error] = errors
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, NotRecorded)


async def test_another_argument_is_a_divergence(wire: Wire, tmp_path: Path) -> None:
    """A call with another argument gets the recorded answer, and is named."""

    def application(text: str) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            async with wire.connect() as session:
                return text_of(await session.call_tool("echo", {"text": text}))

        return ask

    await record(application("hello"), tmp_path / "a.session.json")
    wire.cut()
    with replay(tmp_path / "a.session.json") as session:
        assert await application("bye")() == "hello"
        [divergence] = session.divergences
        assert "the input differs" in str(divergence)
        session.allow("echo")


def counting(wire: Wire) -> Callable[[], Awaitable[Any]]:
    """Return an application whose third call tells what has happened in the server."""

    async def ask() -> Any:
        async with wire.connect() as session:
            await session.list_tools()
            texts = [text_of(await session.call_tool("slow", {"seconds": 0})) for _ in range(2)]
            texts.append(text_of(await session.call_tool("history", {})))
            texts.append(text_of(await session.call_tool("echo", {"text": "end"})))
            return texts

    return ask


async def test_a_fork_goes_on_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls before the fork never reach the server; it is started with the first that is live."""
    wire = Wire("stdio", "", monkeypatch)
    answer, _ = await record(counting(wire), tmp_path / "a.session.json")
    with replay(tmp_path / "a.session.json", until=2) as session:
        texts = await counting(wire)()
    assert session.is_live
    assert texts[:2] == ["done", "done"]
    assert texts[2].count("slow began") == 1
    assert answer[2].count("slow began") == 2
    assert texts[3] == "end"


async def test_a_fork_with_another_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text in the place of a recorded result passes the client's validation, and what follows is live."""
    wire = Wire("stdio", "", monkeypatch)
    await record(counting(wire), tmp_path / "a.session.json")
    with replay(tmp_path / "a.session.json", answers={2: "not done"}):
        texts = await counting(wire)()
    assert texts[:2] == ["done", "not done"]
    assert texts[2].count("slow began") == 0


async def test_a_text_for_a_tool_with_an_output_schema_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would not take it: the sentence says so before anything runs; what fits is taken."""
    wire = Wire("stdio", "", monkeypatch)

    async def application() -> Any:
        async with wire.connect() as session:
            result = form(await session.call_tool("add", {"a": 1, "b": 2}))
            return result["structuredContent"]

    await record(application, tmp_path / "a.session.json")
    sentence = r"step 1 \(add 1\) cannot be answered with a text.*: \{\"result\": 3\}"
    with pytest.raises(UnfitAnswer, match=sentence):
        replay(tmp_path / "a.session.json", answers={1: "four"}).__enter__()
    with replay(tmp_path / "a.session.json", answers={1: {"result": 4}}):
        assert await application() == {"result": 4}


async def test_another_command_of_a_server_is_a_divergence(tmp_path: Path) -> None:
    """The sentence comes once, with both commands; another folder of the same program is none."""
    path = tmp_path / "a.session.json"

    def application(**changes: Any) -> Callable[[], Awaitable[Any]]:
        parameters = stdio_parameters().model_copy(update=changes)

        async def run() -> Any:
            async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
                await session.initialize()
                return [text_of(await session.call_tool("echo", {"text": text})) for text in ("a", "b")]

        return run

    await record(application(), path)
    with replay(path) as session:
        assert await application(command="/elsewhere/bin/python3.99")() == ["a", "b"]
    with replay(path) as session:
        assert await application(args=["-m", "other", "--api-key", "h7Kq2wZp9Lm4"])() == ["a", "b"]
        session.allow("command")
    [divergence] = session.all_divergences
    assert divergence.text == "step 1 (echo 1): the command of the server tools differs"
    assert divergence.lines[0] == "the command:"
    assert divergence.lines[2] == "+ python -m other --api-key [a secret was here]"


async def test_servers_that_are_live(wire: Wire, tmp_path: Path) -> None:
    """With `mcp="live"` every request reaches the server."""

    async def application() -> Any:
        async with wire.connect() as session:
            return text_of(await session.call_tool("echo", {"text": application.__dict__.get("text", "recorded")}))

    await record(application, tmp_path / "a.session.json")
    application.__dict__["text"] = "live"
    with replay(tmp_path / "a.session.json", mcp="live"):
        assert await application() == "live"


async def test_a_release_that_opens_transports_in_another_way(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay says which release of the SDK it does not know, and leaves its transports as they are."""

    async def application() -> Any:
        async with wire.connect() as session:
            return text_of(await session.call_tool("echo", {"text": "hello"}))

    await record(application, tmp_path / "a.session.json")
    monkeypatch.setattr("mcp.client.stdio.stdio_client", lambda parameters: None)
    with pytest.raises(SeamMoved, match=rf"mcp {metadata.version('mcp')} .*stdio_client"):
        replay(tmp_path / "a.session.json").__enter__()
    monkeypatch.undo()
    assert await application() == "hello"
