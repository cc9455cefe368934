"""Real NiceGUI and Chainlit: what is set for an open page holds for its handlers and for no other page."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from applications import PATIENT
from fresh import run_fresh
from hosts.serving import APPS
from peers.otlp import Receiver
from peers.ports import free_port
from peers.waiting import until

pytestmark = pytest.mark.application


def test_pages_of_nicegui_do_not_mix() -> None:
    """Handlers, timers, tasks and `to_thread` are in the session that their page has set, or in none."""
    pytest.importorskip("nicegui")
    out = run_fresh("import asyncio, nicegui_pages; asyncio.run(nicegui_pages.main())", {"PYTHONPATH": str(APPS)})
    rows = Counter(tuple(json.loads(line)) for line in out.split("[stderr]")[0].splitlines() if line.startswith("["))
    expected: Counter[tuple[str, str | None, str | None]] = Counter()
    for name in ("ann", "", "bob"):
        for work in ("page", "sync", "task", "thread", "timer"):
            expected[f"{work} {name}", f"page-of-{name}" if name else None, name or None] = 1
        expected[f"other {name}", f"other-of-{name}" if name else None, name or None] = 2
    assert rows == expected


def test_a_chat_of_chainlit_keeps_what_its_start_has_set(receiver: Receiver, journal: Path) -> None:
    """Three chats at a time: each message is in the session of its own chat's start, until that is cleared."""
    pytest.importorskip("chainlit")
    socketio = pytest.importorskip("socketio")
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    folder = journal.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "chainlit", "run", str(APPS / "chainlit_chat.py"), "-h", "--port", str(port)],
        cwd=folder, env={**kept, **receiver.environment(), **PATIENT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    async def chat(leaves: bool) -> tuple[str, list[str]]:
        identity, came, said = str(uuid.uuid4()), asyncio.Event(), []
        client = socketio.AsyncClient()

        def received(message: dict[str, Any]) -> None:
            if message.get("type") == "assistant_message":
                said.append(message["output"])
                came.set()

        client.on("new_message", received)
        await client.connect(
            f"http://127.0.0.1:{port}", socketio_path="/ws/socket.io", transports=["websocket"],
            auth={"sessionId": identity, "clientType": "webapp", "userEnv": "{}", "threadId": "", "chatProfile": ""},
        )  # fmt: skip
        await client.emit("connection_successful")
        while not any(span.name == f"start {identity}" for span in receiver.spans):
            await asyncio.sleep(0.05)
        for text in ("hello", "leave" if leaves else "more", "more"):
            came.clear()
            await client.emit("client_message", {"message": {
                "id": str(uuid.uuid4()), "name": "user", "type": "user_message", "output": text, "createdAt": None,
            }, "fileReferences": []})  # fmt: skip
            await asyncio.wait_for(came.wait(), 60)
        await client.disconnect()
        return identity, said

    async def chats() -> list[tuple[str, list[str]]]:
        return await asyncio.gather(*(chat(leaves) for leaves in (False, True, False)))

    try:
        until(lambda: answers() or process.poll() is not None, 60, "Chainlit")
        talks = asyncio.run(chats())
    finally:
        process.terminate()
        process.wait(60)
    expected: Counter[tuple[str, str | None]] = Counter()
    for number, (identity, said) in enumerate(talks):
        sessions = [f"chat-{identity}", *[None if number == 1 else f"chat-{identity}"] * 2]
        assert said == [str(session) for session in sessions]
        expected[f"start {identity}", f"chat-{identity}"] = 1
        for session in sessions:
            expected[f"task {identity}", session] += 1
            expected[f"thread {identity}", session] += 1
    until(lambda: len(receiver.spans) >= expected.total(), 60, "the rows")
    assert Counter((span.name, span.session_id) for span in receiver.spans) == expected
