"""A chat of Chainlit: the session is set when it starts, and each message is worked on in tasks and threads."""

from __future__ import annotations

import asyncio

import chainlit as cl

from langfuse_integration import langfuse_manager


def work(name: str) -> None:
    with langfuse_manager.trace_span(name):
        pass


async def works(name: str) -> None:
    await asyncio.sleep(0)
    work(name)


@cl.on_chat_start
async def start() -> None:
    chat = cl.user_session.get("id")
    langfuse_manager.set_session(f"chat-{chat}")
    work(f"start {chat}")


@cl.on_message
async def message(message: cl.Message) -> None:
    chat = cl.user_session.get("id")
    if message.content == "leave":
        langfuse_manager.clear_session()
    elif message.content == "return":
        langfuse_manager.set_session(f"chat-{chat}")
    await asyncio.gather(works(f"task {chat}"), cl.make_async(work)(f"thread {chat}"))
    await cl.Message(content=str(langfuse_manager.current_session_id)).send()
