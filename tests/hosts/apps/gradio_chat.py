"""Gradio with handlers, chats and generators of both kinds, whose steps work in parallel; its own visitors call it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
from gradio_client import Client

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions


def work(who: str) -> None:
    with langfuse_manager.trace_span(f"work of {who}"):
        pass


async def works(who: str) -> None:
    await asyncio.sleep(0.001)
    work(who)


def session_of(who: str) -> Any:
    return langfuse_manager.session(f"chat-of-{who}", user_id=who)


def log_in(who: str) -> str:
    langfuse_manager.set_session(f"tab-of-{who}", user_id=who)
    work(who)
    return who


def ask(who: str) -> str:
    work(who)
    return str(langfuse_manager.current_session_id)


async def ask_async(who: str) -> str:
    await asyncio.gather(works(who), works(who))
    return str(langfuse_manager.current_session_id)


def chat(who: str, history: Any = None) -> Iterator[str]:
    with session_of(who), langfuse_manager.trace_span(f"turn of {who}"):
        for number in range(3):
            work(who)
            yield f"{number}"
        asyncio.run(works(who))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(langfuse_manager.bind(work), who).result()


async def chat_async(who: str) -> AsyncIterator[str]:
    with session_of(who), langfuse_manager.trace_span(f"turn of {who}"):
        for number in range(3):
            await asyncio.gather(works(who))
            yield f"{number}"
        work(who)
        work(who)


def batched(names: list[str]) -> list[str]:
    work("batch")
    return [str(langfuse_manager.current_session_id)] * len(names)


def make() -> gr.Blocks:
    with gr.Blocks() as demo:
        who, answer = gr.Textbox(), gr.Textbox()
        for handler in (log_in, ask, ask_async, chat_async):
            gr.Button().click(handler, who, answer, api_name=handler.__name__, concurrency_limit=4)
        gr.Button().click(batched, who, answer, api_name="batched", batch=True, max_batch_size=4)
        gr.ChatInterface(chat, api_name="chat", concurrency_limit=4)
    return demo


def visit(url: str, user: int, visits: int) -> None:
    """One tab: it logs in or not, and then asks and chats in any order."""
    dice = random.Random(user)
    client = Client(url, verbose=False)
    who = f"u{user}"
    logged_in = user % 3 != 0
    if logged_in:
        client.predict(who, api_name="/log_in")
    for _ in range(visits):
        name = dice.choice(["ask", "ask_async", "chat", "chat_async"])
        answer = client.predict(who, api_name=f"/{name}")
        if name.startswith("ask"):
            assert answer == (f"tab-of-{who}" if logged_in else "None"), (who, answer)
    client.close()


def main(users: int, visits: int) -> None:
    """Print each row's name, session and whether its parent is a row of the same user's turn."""
    logging.basicConfig(level="WARNING")
    with recorded_sessions() as sessions:
        demo = make()
        demo.launch(prevent_thread_lock=True, quiet=True)
        for first in range(0, users, 4):
            threads = [
                threading.Thread(target=visit, args=(demo.local_url, user, visits))
                for user in range(first, min(first + 4, users))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        Client(demo.local_url, verbose=False).predict("any", api_name="/batched")
        demo.close()
    rows = {row.id: row for row in sessions.observations}
    for row in rows.values():
        above = rows.get(row.parent_id or "")
        print(json.dumps([row.name, row.session_id, row.user_id, above.name if above else None]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
