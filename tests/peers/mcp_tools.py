"""The MCP server that tests talk to: tools for every way in which a call can go, on mcp 1.x and 2.x.

    python -m peers.mcp_tools [--http] [--name NAME] [--setup MODULE:FUNCTION]

The function of `--setup` gets the server before it runs, for example to add a middleware.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import anyio
from mcp import types
from opentelemetry import baggage, trace
from pydantic import BaseModel

# What mcp 1 calls FastMCP is MCPServer in mcp 2.
VERSION = 2 if find_spec("mcp.server.mcpserver") else 1
_SDK: Any = import_module("mcp.server.mcpserver" if VERSION == 2 else "mcp.server.fastmcp")
_ToolError: type[Exception] = import_module(f"{_SDK.__name__}.exceptions").ToolError
_errors: Any = import_module("mcp.shared.exceptions")

if TYPE_CHECKING:
    Context: TypeAlias = Any
else:
    Context = _SDK.Context

SLOW_STEPS = 4
PICTURE = base64.b64encode(b"\x89PNG" + bytes(range(60))).decode()
"""The base64 of what `picture` returns."""
HISTORY: list[str] = []
"""What happened in this process, as the tool `history` tells it."""


class Choice(BaseModel):
    """What `ask` wants from the user."""

    animal: str


# --- tools ---------------------------------------------------------------------------------------------------------


def echo(text: str) -> str:
    """Return *text*."""
    return text


def add(a: int, b: int) -> int:
    """Return the sum, with structured content."""
    return a + b


def picture(caption: str) -> list[Any]:
    """Return *caption* and a picture."""
    return [
        types.TextContent(type="text", text=caption),
        types.ImageContent.model_validate({"type": "image", "data": PICTURE, "mimeType": "image/png"}),
    ]


async def slow(seconds: float, ctx: Context) -> str:
    """Take *seconds*, with four progress notifications; the history tells the start, the end and a cancellation."""
    HISTORY.append("slow began")
    try:
        for step in range(SLOW_STEPS):
            await ctx.report_progress(step + 1, SLOW_STEPS, f"step {step + 1}")
            await anyio.sleep(seconds / SLOW_STEPS)
    except anyio.get_cancelled_exc_class():
        HISTORY.append("slow was cancelled")
        raise
    HISTORY.append("slow ended")
    return "done"


def fail(message: str = "it failed") -> str:
    """Fail as tools do: a result with isError and the message."""
    raise _ToolError(message)


def reject(code: int = -32042) -> str:
    """Fail with a JSON-RPC error of *code*. mcp 1 turns it into a result with isError."""
    if VERSION == 2:
        raise _errors.MCPError(code, "rejected")
    raise _errors.McpError(types.ErrorData(code=code, message="rejected"))


def crash() -> str:
    """End the server's process without an answer."""
    os._exit(3)


def history() -> list[str]:
    """Return what happened in the server so far."""
    return HISTORY


def meta(ctx: Context) -> str:
    """Return the `_meta` of this request as JSON."""
    return json.dumps(_plain(ctx.request_context.meta))


async def context(ctx: Context) -> str:
    """Return, as JSON, the OpenTelemetry context in which the handler runs, and the request's `_meta`."""
    span = trace.get_current_span().get_span_context()
    ids = {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    return json.dumps({**ids, "baggage": dict(baggage.get_all()), "meta": _plain(ctx.request_context.meta)})


async def ask(question: str, ctx: Context) -> str:
    """Elicit an answer from the user; return the action and the animal."""
    answer = await ctx.elicit(question, Choice)
    return f"{answer.action} {answer.data.animal}" if answer.action == "accept" else str(answer.action)


async def choose(question: str, choice: Any) -> str:
    """Return the animal that the user chose before the call began; mcp 2 only.

    Before protocol 2026-07-28 the server elicits it during the call; from then on the first result says that input is
    required, and the client calls again with the answer.
    """
    return f"chose {choice.animal}"


def _question(question: str) -> Any:
    return _SDK.Elicit(question, Choice)


async def sample(prompt: str, ctx: Context) -> str:
    """Let the client's model complete *prompt*."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    create: Any = ctx.session.create_message
    result = await _quietly(create, [message], max_tokens=20, related_request_id=ctx.request_id)
    return str(result.content.text)


async def roots(ctx: Context) -> list[str]:
    """Return the client's roots."""
    result = await _quietly(ctx.session.list_roots)
    return [str(root.uri) for root in result.roots]


async def log(text: str, ctx: Context) -> str:
    """Send *text* to the client's log."""
    send: Any = ctx.session.send_log_message
    await _quietly(send, "info", text, logger="tools", related_request_id=ctx.request_id)
    return "logged"


TOOLS: list[Callable[..., Any]] = [
    *(echo, add, picture, slow, fail, reject, crash, history, meta, context),
    *(ask, sample, roots, log),
]
if VERSION == 2:
    choose.__annotations__["choice"] = Annotated[Choice, _SDK.Resolve(_question)]
    TOOLS.append(choose)


def _quietly(method: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Call what warns: requests of older protocol revisions on mcp 2, and FastMCP of mcp 1.24 on a newer pydantic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*args, **more)


def _plain(received: Any) -> Any:
    return received.model_dump(mode="json", exclude_none=True) if isinstance(received, BaseModel) else received


# --- the server ----------------------------------------------------------------------------------------------------


def memo() -> str:
    """Feed the llamas."""
    return "Feed the llamas."


def note(name: str) -> str:
    """Return a note about *name*; there is none about `nobody`."""
    if name == "nobody":
        raise ValueError("no note")
    return f"A note about {name}."


def greet(name: str) -> str:
    """Return a greeting as a prompt."""
    return f"Say hello to {name}."


def make_server(name: str = "tools") -> Any:
    """Return the server with everything above: FastMCP on mcp 1.x, MCPServer on mcp 2.x."""
    make: Any = _SDK.MCPServer if VERSION == 2 else _SDK.FastMCP
    server: Any = _quietly(make, name, log_level="CRITICAL")
    for tool in TOOLS:
        server.add_tool(tool)
    server.resource("memo://today")(memo)
    server.resource("note://{name}")(note)
    server.prompt()(greet)

    async def complete(ref: Any, argument: Any, context: Any) -> Any:
        names = [name for name in ("Lama", "Luna", "Pacha") if name.startswith(argument.value)]
        return types.Completion(values=names)

    server.completion()(complete)
    return server


def lowlevel(server: Any) -> Any:
    """Return the low-level server inside *server*."""
    return server._lowlevel_server if VERSION == 2 else server._mcp_server


def serve_http(server: Any) -> None:
    """Serve over streamable HTTP on a free port of 127.0.0.1; the first line on standard output is the address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(server.streamable_http_app(), log_level="critical", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listening])


def main() -> None:
    """Run the server as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--name", default="tools")
    parser.add_argument("--setup")
    options = parser.parse_args()
    server = make_server(options.name)
    if options.setup:
        module, _, function = options.setup.partition(":")
        getattr(import_module(module), function)(server)
    if options.http:
        serve_http(server)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
