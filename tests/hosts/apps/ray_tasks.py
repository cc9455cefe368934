"""Tasks and actors of Ray for two users and nobody, in workers that serve all of them, and that Ray kills."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any

import ray

from langfuse_integration import langfuse_manager
from langfuse_integration.propagation import extract, inject

USERS = ("ann", "bob", "")
CALLS = 3


def follow(name: str, headers: dict[str, str]) -> int:
    with extract(headers), langfuse_manager.trace_span(name):
        return os.getpid()


def set_here(name: str, user: str) -> int:
    if user:
        langfuse_manager.set_session(f"own-{user}", user_id=user)
    with langfuse_manager.trace_span(f"{name} sets {user}"):
        pass
    with extract({}):  # its end waits for the journal
        return os.getpid()


class Worker:
    def follow(self, name: str, headers: dict[str, str]) -> int:
        return follow(name, headers)

    def set_here(self, name: str, user: str) -> int:
        return set_here(name, user)


class AsyncWorker:
    async def follow(self, name: str, headers: dict[str, str]) -> int:
        async with extract(headers):
            with langfuse_manager.trace_span(name):
                await asyncio.sleep(0)
                return os.getpid()

    async def set_here(self, name: str, user: str) -> int:
        if user:
            langfuse_manager.set_session(f"own-{user}", user_id=user)
        await asyncio.sleep(0)
        async with extract({}):
            with langfuse_manager.trace_span(f"{name} sets {user}"):
                return os.getpid()


def generate(name: str, headers: dict[str, str]) -> Iterator[int]:
    with extract(headers), langfuse_manager.trace_span(name):
        yield os.getpid()


class OneUsers:
    def __init__(self, user: str) -> None:
        langfuse_manager.set_session(f"own-{user}", user_id=user)

    def work(self, name: str) -> None:
        with extract({}), langfuse_manager.trace_span(name):
            pass


def ask(name: str, user: str, function: Any) -> list[Any]:
    session = langfuse_manager.session(f"s-{user}", user_id=user) if user else contextlib.nullcontext()
    with session, langfuse_manager.trace_span(f"{name} of {user}"):
        return [function.remote(f"{name} {number}", inject({})) for number in range(CALLS)]


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ways = {
        "actor": ray.remote(Worker).options(num_cpus=0).remote(),
        "threads": ray.remote(Worker).options(num_cpus=0, max_concurrency=2).remote(),
        "async": ray.remote(AsyncWorker).options(num_cpus=0).remote(),
    }
    pids = set()
    for name, actor in ways.items():
        answers = [answer for user in USERS for answer in ask(name, user, actor.follow)]
        answers += [actor.set_here.remote(name, user) for user in USERS * 2]
        pids |= set(ray.get(answers))
        ray.kill(actor)
    for name, remote in {"task": ray.remote, "once": ray.remote(max_calls=1)}.items():
        task, setting = remote(follow), remote(set_here)
        answers = [answer for user in USERS for answer in ask(name, user, task)]
        answers += [setting.remote(name, user) for user in USERS * 2]
        pids |= set(ray.get(answers))
    streams = [stream for user in USERS for stream in ask("stream", user, ray.remote(generate))]
    pids |= {ray.get(answer) for stream in streams for answer in stream}
    owned = ray.remote(OneUsers).options(num_cpus=0).remote("cleo")
    ray.get([owned.work.remote(f"owned {number}") for number in range(2)])
    ray.kill(owned)
    print(len(pids - {os.getpid()}), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
