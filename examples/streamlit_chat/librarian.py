"""An agent that all tabs share: one connection to llama-mcp, one event loop in a thread, one memory for each session.

This module sets no session: the tab's session goes with every call, into the loop and over the connection.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

import streamlit as st
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver

sys.path.append(str(Path(__file__).parents[1] / "demo_agent"))

from agent import PROMPT, llama_mcp, tools_of
from model import ScriptedModel

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler

TIMEOUT_S = 120


class Librarian:
    """Answers from the library of llama-mcp, and remembers the conversation of each session."""

    def __init__(self, model: BaseChatModel) -> None:
        self._model = model
        self._agent: Any = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        with langfuse_manager.detached():  # the first tab starts the thread, which belongs to no session
            threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True).start()
        if not self._ready.wait(TIMEOUT_S):
            raise TimeoutError("llama-mcp did not start")

    async def _serve(self) -> None:
        async with llama_mcp() as session:
            tools = await tools_of(session)
            self._agent = create_agent(
                self._model, tools, system_prompt=PROMPT, name="librarian", checkpointer=InMemorySaver()
            )
            self._ready.set()
            await asyncio.Event().wait()

    def process(self, prompt: str) -> str:
        """Return the answer to *prompt*, which may refer to earlier messages of the session."""
        return asyncio.run_coroutine_threadsafe(self._answer(prompt), self._loop).result(TIMEOUT_S)

    async def _answer(self, prompt: str) -> str:
        config = {"callbacks": [SessionHandler()], "configurable": {"thread_id": langfuse_manager.current_session_id}}
        state = await self._agent.ainvoke({"messages": [("user", prompt)]}, config)
        return str(state["messages"][-1].text)


@st.cache_resource(show_spinner="Opening the library")
def librarian() -> Librarian:
    """Return the one librarian of this server. CHAT_MODEL names its model, `provider:name`; without, it is scripted."""
    name = os.environ.get("CHAT_MODEL")
    if name is None:
        return Librarian(ScriptedModel())
    from langchain.chat_models import init_chat_model

    return Librarian(init_chat_model(name))
