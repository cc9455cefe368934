"""AWS Lambda's own runtime interface client against a local Runtime API: a real process, frozen after each answer."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from peers.otlp import Receiver
from peers.server import Answer, LocalServer, Request

pytestmark = pytest.mark.application

HOSTS = Path(__file__).parents[2] / "docs" / "hosts.md"
ALSO_ANONYMOUS = """
documented = handler

@flushed(timeout_s=30)
def handler(event, context):
    if event["chat"] is None:
        with langfuse_manager.trace_span("anonymous"):
            return {"answer": langfuse_manager.current_session_id}
    return documented(event, context)
"""
INVOCATIONS = [("ada-1", "ada"), (None, None), ("bob-1", "bob"), ("broken", None), (None, None), ("ada-1", "ada")]
"""The chat and the user of each event; one event lacks its user, for which the handler raises."""


class RuntimeApi(LocalServer):
    """Lambda's Runtime API, version 2018-06-01: gives events to a runtime, and takes its answers."""

    def __init__(self) -> None:
        self.idle: queue.Queue[None] = queue.Queue()
        """Gets an entry when the runtime asks for the next event: it has answered the one before."""
        self.answers: list[tuple[str, Any]] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        super().__init__()

    def invoke(self, event: dict[str, Any]) -> None:
        """Give *event* to the runtime."""
        self._events.put(event)

    def answer(self, request: Request) -> Answer:
        """Answer the runtime's request."""
        if request.method == "POST":
            self.answers.append((request.path.rsplit("/", 1)[1], json.loads(request.body)))
            return Answer(202)
        self.idle.put(None)
        while True:
            try:
                event = self._events.get(timeout=0.01)
            except queue.Empty:
                self.pause(0)
                continue
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": f"request-{len(self.answers)}",
                "Lambda-Runtime-Deadline-Ms": str(round((time.time() + 60) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:agent",
            }
            return Answer(200, json.dumps(event).encode(), headers)


def test_the_documented_handler_is_delivered_before_each_freeze(
    receiver: Receiver, journal: Path, tmp_path: Path
) -> None:
    """Frozen after each answer while its connections are cut: each row came before, in its own session."""
    pytest.importorskip("awslambdaric")
    blocks = re.findall(r"```python\n(.*?)```", HOSTS.read_text(), re.DOTALL)
    (block,) = (code for code in blocks if "@flushed" in code)
    (tmp_path / "agent.py").write_text(block.replace("@flushed\n", "@flushed(timeout_s=30)\n") + ALSO_ANONYMOUS)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_", "AWS_"))}
    expected = [("invocation", "session-123", "user-456", "UNSET")]  # the document's own call, while it is loaded
    with RuntimeApi() as api:
        environment = {
            **kept, **receiver.environment(), "LANGFUSE_INTEGRATION_JOURNAL": str(journal),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}", "AWS_LAMBDA_FUNCTION_NAME": "agent",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "agent.handler"], cwd=tmp_path, env=environment,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            api.idle.get(timeout=120)
            for chat, user in INVOCATIONS:
                api.invoke({"chat": chat, **({"user": user} if user else {})})
                api.idle.get(timeout=120)
                if chat is None:
                    expected.append(("anonymous", None, None, "UNSET"))
                elif user:
                    expected.append(("invocation", chat, user, "UNSET"))
                os.kill(process.pid, signal.SIGSTOP)
                rows = [(span.name, span.session_id, span.user_id, span.status) for span in receiver.spans]
                assert rows == expected
                receiver.refuse()  # a server closes connections that are idle for as long as a freeze lasts
                receiver.listen()
                os.kill(process.pid, signal.SIGCONT)
        finally:
            process.kill()  # frozen for ever
            process.wait(60)
    kinds = [("error" if chat == "broken" else "response") for chat, _ in INVOCATIONS]
    assert [kind for kind, _ in api.answers] == kinds
    assert [body["answer"] for kind, body in api.answers if kind == "response"] == ["Hay.", None, "Hay.", None, "Hay."]
    assert receiver.doubled() == {}
    assert {span.parent_id for span in receiver.spans} == {None}
