"""A chat over HTTP, for any number of users and workers: `uvicorn app:app --app-dir examples/fastapi_chat --workers 4`.

A browser gets a cookie when somebody logs in, and the session is set once, there. Several workers need
a shared store to find a cookie's session: LANGFUSE_INTEGRATION_STORE=redis://... (one worker needs none).
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel

sys.path.append(str(Path(__file__).parents[1] / "demo_agent"))

from agent import PROMPT, llama_mcp, tools_of
from model import ScriptedModel

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration_langchain import SessionHandler


class Name(BaseModel):
    """The name of the user who logs in."""

    user: str


class Question(BaseModel):
    """The user's question."""

    text: str


def chosen() -> BaseChatModel:
    """Return the model that CHAT_MODEL names (`provider:name`), or a scripted one that needs no key."""
    name = os.environ.get("CHAT_MODEL")
    if name is None:
        return ScriptedModel()
    from langchain.chat_models import init_chat_model

    return init_chat_model(name)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one connection to llama-mcp and one agent for all users."""
    async with llama_mcp() as session:
        tools = await tools_of(session)
        app.state.agent = create_agent(chosen(), tools, system_prompt=PROMPT, name="librarian")
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, conversation="login")


@app.get("/")
def page() -> FileResponse:
    """The page: one file, no script but its own."""
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/login")
def log_in(name: Name) -> dict[str, str | None]:
    """Begin a session for *name*: from here on, all requests of this browser belong to it."""
    langfuse_manager.set_session(f"chat-{uuid.uuid4().hex[:8]}", user_id=name.user)
    return {"session": langfuse_manager.current_session_id}


@app.post("/chat")
async def chat(question: Question) -> StreamingResponse:
    """Stream what the agent does, as server-sent events, and its answer at the end."""
    return StreamingResponse(answer(question.text), media_type="text/event-stream")


async def answer(text: str) -> AsyncIterator[str]:
    """Yield an event for each tool that is called, and for each word of the answer."""
    steps = app.state.agent.astream(
        {"messages": [("user", text)]}, {"callbacks": [SessionHandler()]}, stream_mode="updates"
    )
    async for update in steps:
        for message in [message for step in update.values() for message in step["messages"]]:
            if isinstance(message, AIMessage):
                for call in message.tool_calls:
                    yield event("tool", f"{call['name']}({', '.join(map(str, call['args'].values()))})")
                for word in message.text.split(" ") if message.text else ():
                    yield event("word", word)
    yield event("end", langfuse_manager.current_session_id)


def event(kind: str, data: Any) -> str:
    """Return one server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
