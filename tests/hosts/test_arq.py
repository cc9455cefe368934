"""arq with a real Redis, in an environment of its own, since it holds back the client of Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from applications import PATIENT
from fresh import run_fresh
from hosts.redis_server import RedisServer
from hosts.serving import APPS
from peers.otlp import Receiver
from peers.waiting import until

pytestmark = pytest.mark.application

SEND = """
import asyncio, os
from arq import create_pool
from arq.connections import RedisSettings
from langfuse_integration import langfuse_manager
import arq_jobs
async def main():
    redis = await create_pool(RedisSettings.from_dsn(os.environ["REDIS"]))
    async def send(*arguments, function="work"): await redis.enqueue_job(function, *arguments)
    with langfuse_manager.session("s-1", "one"), langfuse_manager.trace_span("sender"):
        await send("follows")
        await send("sets", "alice")
        await send("again", function="fails_once")
    await send("nobody's")
    await redis.aclose()
asyncio.run(main())
"""


@pytest.mark.parametrize("followed", ["00", "11", "10", "01"])
def test_a_job_is_in_its_sender_s_session_or_in_none(
    redis_server: RedisServer, receiver: Receiver, journal: Path, followed: str
) -> None:
    """A job follows its sender where both call `instrument`; else it runs all the same, and begins with no session."""
    pytest.importorskip("arq")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    path = f"{APPS}{os.pathsep}{APPS.parent.parent}"
    common = {**receiver.environment(), **PATIENT, "REDIS": redis_server.url, "PYTHONPATH": path,
              "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}  # fmt: skip
    with journal.with_name("worker.log").open("w+") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "arq", "arq_jobs.WorkerSettings"], cwd=APPS,
            env={**kept, **common, "FOLLOWED": followed[1]}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            run_fresh(SEND, {**common, "FOLLOWED": followed[0]}, timeout_s=90)
            until(lambda: len(receiver.spans) >= 6, 60, "six rows")
        finally:
            worker.terminate()
            worker.wait(60)
    rows = {row.name: row for row in receiver.spans}
    session = "s-1" if followed == "11" else None
    assert Counter((row.name, row.session_id, row.status) for row in receiver.spans) == Counter(
        [("sender", "s-1", "UNSET"), ("follows", session, "UNSET"), ("sets", "chat-of-alice", "UNSET"),
         ("again 1", session, "UNSET"), ("again 2", session, "UNSET"), ("nobody's", None, "UNSET")]
    )  # fmt: skip
    for name in ("follows", "sets", "again 1", "again 2"):
        assert rows[name].parent_id == (rows["sender"].span_id if session else None)
    assert rows["nobody's"].parent_id is None
