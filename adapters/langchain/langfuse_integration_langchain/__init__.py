"""LangChain and LangGraph runs, recorded under the right user session.

agent.invoke(..., config={"callbacks": [SessionHandler()]})    # at a call, or at a constructor
instrument()                                                   # or everything in this process
"""

from __future__ import annotations

from importlib.util import find_spec

from langfuse_integration.errors import MissingExtra

if find_spec("langchain_core") is None:
    raise MissingExtra("langchain-core", "langchain")

from .handler import SessionHandler
from .hook import instrument, instrumented, uninstrument

__all__ = ["SessionHandler", "instrument", "instrumented", "uninstrument"]
