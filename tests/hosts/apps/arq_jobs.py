"""Jobs of arq: each sets a session if a user is given, and records one span; one fails at first."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from arq import Retry
from arq.connections import RedisSettings

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.arq import instrument

if os.environ.get("FOLLOWED") == "1":
    instrument()


async def work(context: Any, name: str, user: str = "") -> None:
    await asyncio.sleep(0)
    if user:
        langfuse_manager.set_session(f"chat-of-{user}", user_id=user)
    with langfuse_manager.trace_span(name):
        pass


async def fails_once(context: Any, name: str) -> None:
    await work(context, f"{name} {context['job_try']}")
    if context["job_try"] == 1:
        raise Retry(defer=0)


class WorkerSettings:
    functions = [work, fails_once]
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS"])
    poll_delay = 0.05
