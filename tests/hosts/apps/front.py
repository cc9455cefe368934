"""A service that calls another one, by every client that applications use."""

import asyncio
import os
from typing import Any

import httpx
import requests
from fastapi import FastAPI

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration.propagation import inject

app = FastAPI()
app.add_middleware(SessionMiddleware)
BACK = os.environ["BACK_URL"]


@app.get("/ask")
async def ask(user: str) -> list[Any]:
    """Call the other service five times from inside of one trace, and once from outside of any."""
    langfuse_manager.set_session(f"session of {user}", user_id=user)
    answers: list[Any] = []
    with langfuse_manager.trace_span("ask"):
        hooks: Any = {"request": [_inject]}
        async with httpx.AsyncClient(base_url=BACK, event_hooks=hooks) as client:
            answers.append((await client.get("/trusting/search", params={"name": "by hook"})).json())
            answers.append((await client.get("/by-hand", params={"name": "by hand"})).json())
            answers.append((await client.get("/doubting", params={"name": "doubted"})).json())
        with httpx.Client(base_url=BACK) as client:
            answers.append(client.get("/by-hand", params={"name": "by httpx"}, headers=inject({})).json())
    by_requests = await asyncio.to_thread(_by_requests)
    return [*answers, by_requests.json()]


def _by_requests() -> requests.Response:
    return requests.get(f"{BACK}/trusting/search", params={"name": "by requests"}, headers=inject({}), timeout=60)


async def _inject(request: httpx.Request) -> None:
    inject(request.headers)
