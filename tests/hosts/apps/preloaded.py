"""A WSGI application that gunicorn loads before it forks, with threads that record all the time in the parent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableLambda
from llama_index.core.instrumentation import get_dispatcher

import langfuse_integration_llamaindex
from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler

langfuse_integration_llamaindex.instrument()
chain = RunnableLambda(lambda text: text)
llama = get_dispatcher("preloaded").span


def set_session() -> None:
    langfuse_manager.set_session("s-1", user_id="u-1")


def trace_span() -> None:
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("span"):
        langfuse_manager.trace_mcp_call("server", "query", "answer")


def langchain() -> None:
    chain.invoke("hay", {"callbacks": [SessionHandler()]})


@llama
def llamaindex() -> None:
    """An instrumented function of LlamaIndex."""


def flush() -> None:
    langfuse_manager.flush(0.01)


CALLS: dict[str, Callable[[], Any]] = {
    call.__name__: call for call in (set_session, trace_span, langchain, llamaindex, flush)
}


def busy(call: Callable[[], Any]) -> None:
    while True:
        for _ in range(20):
            call()
        time.sleep(0.01)  # else Langfuse's stand-in in the test is what takes the time


for call in CALLS.values():
    call()
for name in ("set_session", "trace_span", "langchain", "llamaindex"):
    threading.Thread(target=busy, args=(CALLS[name],), daemon=True).start()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Call what the path names, a hundred times; the worker ends after it."""
    for _ in range(100):
        CALLS[environ["PATH_INFO"].strip("/")]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
