"""What tests of LangChain share: a tool, a config with a handler, and the ways to run a runnable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool

from langfuse_integration_langchain import SessionHandler

HELLO: Any = {"messages": [("user", "Hello")]}


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


def recorded(**options: Any) -> Any:
    """Return a config with a handler of its own."""
    return {"callbacks": [SessionHandler()], **options}


async def gathered(stream: Any) -> list[Any]:
    """Return the parts of an async stream."""
    return [part async for part in stream]


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda runnable, value: runnable.invoke(value, recorded()),
    "ainvoke": lambda runnable, value: asyncio.run(runnable.ainvoke(value, recorded())),
    "stream": lambda runnable, value: list(runnable.stream(value, recorded())),
    "astream": lambda runnable, value: asyncio.run(gathered(runnable.astream(value, recorded()))),
    "astream_events": lambda runnable, value: asyncio.run(
        gathered(runnable.astream_events(value, recorded(), version="v2"))
    ),
}
"""How a runnable is run with one input, recorded, by the name of the method."""
every_way = pytest.mark.parametrize("way", WAYS)
