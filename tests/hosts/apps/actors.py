"""The tasks of jobs.py as Dramatiq's actors."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from jobs import held, work

broker = RedisBroker(url=os.environ["REDIS"])
if os.environ.get("FOLLOWED") == "1":
    from langfuse_integration.hosts.dramatiq import SessionMiddleware

    broker.add_middleware(SessionMiddleware())
dramatiq.set_broker(broker)


@dramatiq.actor
def actor(name: str, user: str = "") -> str:
    return work(name, user)


@dramatiq.actor
def held_actor(folder: str) -> None:
    held(folder)


@dramatiq.actor
def second(before: str, name: str) -> None:
    work(name)


@dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
def fails_once(name: str) -> None:
    work(name)
    raise ValueError("again")
