"""A worker that runs an agent once and ends; the state of its graph is stored in a file, as in a database.

The agent asks, or stops before its tools where a fifth argument says "stops".
"""

import pickle
import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat, call


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return str(interrupt({"question": question}))


@tool
def look(question: str) -> str:
    """Look it up."""
    return question


message, user, thread, file = *sys.argv[1:4], Path(sys.argv[4])
saver = InMemorySaver()
if file.exists():
    storage, writes, blobs = pickle.loads(file.read_bytes())
    for key, spaces in storage.items():
        saver.storage[key].update(spaces)
    saver.writes.update(writes)
    saver.blobs.update(blobs)
act = "look" if "stops" in sys.argv else "ask"
model = ScriptedChat(lambda messages: "Hello." if messages[-1].type == "tool" else call(act, {"question": "name?"}))
stops = "stops" in sys.argv
agent = create_agent(
    model, [look if stops else ask], name="assistant", checkpointer=saver, interrupt_before=["tools"] if stops else None
)
config = {"callbacks": [SessionHandler()], "configurable": {"thread_id": thread}}
if user:
    langfuse_manager.set_session(f"s-{user}", user)
again = None if stops else Command(resume=message)
agent.invoke({"messages": [("user", message)]} if user else again, config)
kept = {key: dict(spaces) for key, spaces in saver.storage.items()}, dict(saver.writes), dict(saver.blobs)
file.write_bytes(pickle.dumps(kept))
langfuse_manager.flush(20)
