"""An application whose sessions are turned into tests: an agent whose model may be unplugged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat, call


@tool
def search(query: str) -> str:
    """Search the library; FARM_SEARCHES names a file that counts it."""
    if "FARM_SEARCHES" in os.environ:
        with Path(os.environ["FARM_SEARCHES"]).open("a", encoding="utf-8") as searches:
            searches.write(f"{query}\n")
    return f"found {query}"


def model() -> ScriptedChat:
    """Return the model: it says what FARM_ANSWER says, and fails where FARM_UNPLUGGED is set."""
    if os.environ.get("FARM_UNPLUGGED"):
        return ScriptedChat(AssertionError("the model was called"))
    return ScriptedChat(call("search", {"query": "hay"}), os.environ.get("FARM_ANSWER", "Hay."))


def agent() -> Any:
    """Return the agent, with the prompt in FARM_PROMPT."""
    return create_agent(model(), [search], system_prompt=os.environ.get("FARM_PROMPT", "Be short."), name="herder")


def answer(question: str) -> str:
    """Answer a question."""
    config: Any = {"callbacks": [SessionHandler()]}
    return str(agent().invoke({"messages": [("user", question)]}, config)["messages"][-1].content)


async def answer_later(question: str) -> str:
    """Answer a question without blocking."""
    config: Any = {"callbacks": [SessionHandler()]}
    state = await agent().ainvoke({"messages": [("user", question)]}, config)
    return str(state["messages"][-1].content)


def run(state: dict[str, Any]) -> Any:
    """Answer what a state asks."""
    return agent().invoke(state, {"callbacks": [SessionHandler()]})
