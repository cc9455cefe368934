"""A local server with the route that a `RemoteGraph` streams from, as LangGraph Server answers (langgraph-api 0.16.7).

The graph takes messages and answers "Hay."; "fail" fails in it, and "ask" interrupts it until it is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .server import Answer, LocalServer, Request

INTERRUPT = {"value": "Which?", "id": "i-1", "response_schema": None}
ERROR = {"error": "ValueError", "message": "no hay"}


def message(kind: str, content: str, id_: str) -> dict[str, Any]:
    """Return a message as the server writes it."""
    entries = {"content": content, "additional_kwargs": {}, "response_metadata": {}, "type": kind}
    return {**entries, "name": None, "id": id_}


class GraphServer(LocalServer):
    """Answers runs that are streamed.

    Attributes:
        runs: the requests that came, as (headers with names in lower case, body).
    """

    def __init__(self) -> None:
        self.runs: list[tuple[dict[str, str], dict[str, Any]]] = []
        super().__init__()

    def answer(self, request: Request) -> Answer:
        """Answer `POST /runs/stream` and `POST /threads/{id}/runs/stream`."""
        body = json.loads(request.body)
        self.runs.append((dict(request.headers), body))
        headers = {"Content-Type": "text/event-stream", "Connection": "close"}
        return Answer(200, headers=headers, stream=self._events(body))

    def _events(self, body: dict[str, Any]) -> Iterator[bytes]:
        for event, data in steps(body):
            mode = "messages-tuple" if event == "messages" else event
            if event in ("metadata", "error") or mode in body["stream_mode"]:
                yield f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def steps(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the events of a run in all modes."""
    yield "metadata", {"run_id": "r-1", "attempt": 1}
    if body.get("command"):
        said, answer = "ask", f"You said {body['command']['resume']}"
    else:
        said, answer = body["input"]["messages"][-1]["content"], "Hay."
    state: dict[str, Any] = {"messages": [message("human", said, "m-1")]}
    yield "values", state
    if said == "fail":
        yield "error", ERROR
        return
    if said == "ask" and not body.get("command"):
        yield "updates", {"__interrupt__": [INTERRUPT]}
        yield "values", {**state, "__interrupt__": [INTERRUPT]}
        return
    for token in answer[:1], answer[1:]:
        yield "messages", [message("AIMessageChunk", token, "m-2"), {"langgraph_node": "talk"}]
    yield "updates", {"talk": {"messages": [message("ai", answer, "m-2")]}}
    yield "values", {"messages": [*state["messages"], message("ai", answer, "m-2")]}
