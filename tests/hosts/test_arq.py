"""arq with a real Redis, in an environment of its own, since it holds back the client of Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from applications import PATIENT
from fresh import run_fresh
from hosts.redis_server import RedisServer
from hosts.serving import APPS
from peers.otlp import Receiver
from peers.waiting import until

pytestmark = pytest.mark.application

JOBS = int(os.environ.get("REQUESTS", "10000"))
"""What the largest test sends to the worker."""
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


@contextmanager
def worker(redis: RedisServer, receiver: Receiver, journal: Path, followed: str) -> Iterator[Mapping[str, str]]:
    """A worker that runs within the block, by the environment that whoever enqueues needs, too."""
    pytest.importorskip("arq")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    path = f"{APPS}{os.pathsep}{APPS.parent.parent}"
    common = {**receiver.environment(), **PATIENT, "REDIS": redis.url, "PYTHONPATH": path,
              "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}  # fmt: skip
    with journal.with_name("worker.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "arq", "arq_jobs.WorkerSettings"], cwd=APPS,
            env={**kept, **common, "FOLLOWED": followed}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield common
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize("followed", ["00", "11", "10", "01"])
def test_a_job_is_in_its_sender_s_session_or_in_none(
    redis_server: RedisServer, receiver: Receiver, journal: Path, followed: str
) -> None:
    """A job follows its sender where both call `instrument`; else it runs all the same, and begins with no session."""
    with worker(redis_server, receiver, journal, followed[1]) as environment:
        run_fresh(SEND, {**environment, "FOLLOWED": followed[0]}, timeout_s=90)
        until(lambda: len(receiver.spans) >= 6, 60, "six rows")
    rows = {row.name: row for row in receiver.spans}
    session = "s-1" if followed == "11" else None
    assert Counter((row.name, row.session_id, row.status) for row in receiver.spans) == Counter(
        [("sender", "s-1", "UNSET"), ("follows", session, "UNSET"), ("sets", "chat-of-alice", "UNSET"),
         ("again 1", session, "UNSET"), ("again 2", session, "UNSET"), ("nobody's", None, "UNSET")]
    )  # fmt: skip
    for name in ("follows", "sets", "again 1", "again 2"):
        assert rows[name].parent_id == (rows["sender"].span_id if session else None)
    assert rows["nobody's"].parent_id is None


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("followed", ["0", "1"])
def test_no_job_of_ten_thousand_is_wrong_missing_or_an_error(
    redis_server: RedisServer, receiver: Receiver, journal: Path, followed: str
) -> None:
    """Of 10,000 jobs of 50 users and anonymous ones no row is in a wrong session, missing, doubled or an error."""
    users = [f"u{number % 50}" if number % 3 else "" for number in range(JOBS)]
    with worker(redis_server, receiver, journal, followed) as environment:
        sends = f"""
    for number in range({JOBS}):
        user = f"u{{number % 50}}" if number % 3 else ""
        await send(f"{{number}} of {{user}}", user)
"""
        begin, end = SEND.index("    with langfuse_manager"), SEND.index("    await redis.aclose")
        run_fresh(SEND[:begin] + sends + SEND[end:], {**environment, "FOLLOWED": followed}, timeout_s=600)
        until(lambda: len(receiver.spans) >= JOBS, 1200, "the rows")
    assert Counter((row.name, row.session_id, row.status) for row in receiver.spans) == Counter(
        (f"{number} of {user}", f"chat-of-{user}" if user else None, "UNSET") for number, user in enumerate(users)
    )
