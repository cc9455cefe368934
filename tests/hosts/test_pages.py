"""Real NiceGUI and Chainlit: what is set for an open page holds for its handlers and for no other page."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
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
MANY = int(os.environ.get("REQUESTS", "10000"))
"""Clicks or messages in the largest tests."""


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


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_click_of_ten_thousand_in_nicegui_is_wrong_missing_or_an_error() -> None:
    """Of 10,000 clicks in 50 pages, which log in and out at random, no row is wrong, missing, doubled or an error."""
    pytest.importorskip("nicegui")
    code = f"import asyncio, nicegui_pages; asyncio.run(nicegui_pages.crowd(50, {MANY // 50}))"
    out = run_fresh(code, {"PYTHONPATH": str(APPS)}, timeout_s=3000)
    clicks, rows, surplus, missing, errors = json.loads(next(line for line in out.splitlines() if line.startswith("[")))
    assert (clicks, surplus, missing, errors) == (MANY, [], [], [])
    assert rows > MANY


class Chats:
    """Chats with an application of Chainlit, which is running on a port."""

    def __init__(self, socketio: Any, port: int, receiver: Receiver) -> None:
        self._socketio = socketio
        self._port = port
        self._receiver = receiver

    async def chat(self, texts: Sequence[str]) -> tuple[str, list[str]]:
        """Say *texts* in a new chat, each after the answer to the one before; return the chat's id and the answers."""
        identity, came, said = str(uuid.uuid4()), asyncio.Event(), []
        client = self._socketio.AsyncClient()

        def received(message: dict[str, Any]) -> None:
            if message.get("type") == "assistant_message":
                said.append(message["output"])
                came.set()

        client.on("new_message", received)
        await client.connect(
            f"http://127.0.0.1:{self._port}", socketio_path="/ws/socket.io", transports=["websocket"],
            auth={"sessionId": identity, "clientType": "webapp", "userEnv": "{}", "threadId": "", "chatProfile": ""},
        )  # fmt: skip
        await client.emit("connection_successful")
        while not any(span.name == f"start {identity}" for span in self._receiver.spans):
            await asyncio.sleep(0.05)
        for text in texts:
            came.clear()
            await client.emit("client_message", {"message": {
                "id": str(uuid.uuid4()), "name": "user", "type": "user_message", "output": text, "createdAt": None,
            }, "fileReferences": []})  # fmt: skip
            await asyncio.wait_for(came.wait(), 60)
        await client.disconnect()
        return identity, said


@contextmanager
def chainlit(receiver: Receiver, journal: Path) -> Iterator[Chats]:
    """The application of chainlit_chat.py, running within the block."""
    if find_spec("chainlit") is None:  # its import would write a folder with settings beside the tests
        pytest.skip("could not import 'chainlit'")
    socketio = pytest.importorskip("socketio")
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "chainlit", "run", str(APPS / "chainlit_chat.py"), "-h", "--port", str(port)],
        cwd=journal.parent, env={**kept, **receiver.environment(), **PATIENT,
                                 "LANGFUSE_INTEGRATION_JOURNAL": str(journal)},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(lambda: answers() or process.poll() is not None, 60, "Chainlit")
        yield Chats(socketio, port, receiver)
    finally:
        process.terminate()
        process.wait(60)


def assert_each_as_said(receiver: Receiver, talks: Sequence[tuple[Sequence[str], str, Sequence[str]]]) -> None:
    """Each start and message of a chat left its rows once, in the session that the chat had then; *talks* are all."""
    expected: Counter[tuple[str, str | None, str]] = Counter()
    for texts, identity, said in talks:
        session: str | None = f"chat-{identity}"
        expected[f"start {identity}", session, "UNSET"] = 1
        sessions = [session := {"leave": None, "return": f"chat-{identity}"}.get(text, session) for text in texts]
        assert said == [str(session) for session in sessions]
        for session in sessions:
            expected[f"task {identity}", session, "UNSET"] += 1
            expected[f"thread {identity}", session, "UNSET"] += 1
    until(lambda: len(receiver.spans) >= expected.total(), 600, "the rows")
    assert Counter((span.name, span.session_id, span.status) for span in receiver.spans) == expected


def test_a_chat_of_chainlit_keeps_what_its_start_has_set(receiver: Receiver, journal: Path) -> None:
    """Three chats at a time: each message is in the session of its own chat's start, until that is cleared."""
    texts = [["hello", second, "more"] for second in ("more", "leave", "more")]

    async def all_of(chats: Chats) -> list[tuple[str, list[str]]]:
        return await asyncio.gather(*map(chats.chat, texts))

    with chainlit(receiver, journal) as chats:
        talks = asyncio.run(all_of(chats))
    assert_each_as_said(receiver, [(text, *talk) for text, talk in zip(texts, talks, strict=True)])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_message_of_ten_thousand_in_chainlit_is_wrong_missing_or_an_error(receiver: Receiver, journal: Path) -> None:
    """Of 10,000 messages in 50 chats, which leave and return, no row is wrong, missing, doubled or an error."""
    dice = random.Random(4)
    texts = [dice.choices(["more", "leave", "return"], [3, 1, 1], k=MANY // 50) for _ in range(50)]

    async def all_of(chats: Chats) -> list[tuple[str, list[str]]]:
        return await asyncio.gather(*map(chats.chat, texts))

    with chainlit(receiver, journal) as chats:
        talks = asyncio.run(all_of(chats))
    assert_each_as_said(receiver, [(text, *talk) for text, talk in zip(texts, talks, strict=True)])
