"""Plain blocks: a request in a session, with a look-up and an answer inside of it."""

from __future__ import annotations

import asyncio
import threading

from ..contender import SESSION
from .workload import AsyncWorkload, Reading, Workload

QUESTION = {"question": "Where is part 7 stored?"}
LOOK_UP = {"part": 7, "limit": 3}
ANSWER = {"prompt": "Say in one sentence where it is."}
THREADS, EACH = 8, 25
TASKS = 1_000


class Nested(Workload):
    """Nested blocks, one request after another on one thread."""

    about = "a session and 3 nested blocks"
    turns = 400

    def turn(self) -> None:
        """Answer one request."""
        contender = self.contender
        with contender.session(SESSION), contender.block("request", QUESTION) as request:
            with contender.block("look_up", LOOK_UP) as step:
                step.update(output={"found": 3})
            with contender.block("answer", ANSWER) as step:
                step.update(output="On shelf 7.")
            request.update(output={"answer": "On shelf 7."})


class NestedInThreads(Nested):
    """Nested blocks on several threads at once."""

    about = "the same on 8 threads"
    runs = THREADS * EACH
    turns = 2

    def measure(self, turns: int) -> tuple[Reading, Reading]:
        """Share the turns among new threads."""
        threads = [threading.Thread(target=self._work, args=(turns * EACH,)) for _ in range(THREADS)]
        with self.watch:
            before = Reading.now()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return before, Reading.now()

    def _work(self, turns: int) -> None:
        for _ in range(turns):
            self.turn()


class NestedInTasks(AsyncWorkload):
    """Nested blocks in many asyncio tasks that take turns between the blocks."""

    about = "the same in 1,000 asyncio tasks"
    runs = TASKS
    turns = 1

    async def turn_async(self) -> None:
        """Answer many requests at once."""
        await asyncio.gather(*(self._request() for _ in range(TASKS)))

    async def _request(self) -> None:
        contender = self.contender
        with contender.session(SESSION), contender.block("request", QUESTION) as request:
            await asyncio.sleep(0)
            with contender.block("look_up", LOOK_UP) as step:
                await asyncio.sleep(0)
                step.update(output={"found": 3})
            with contender.block("answer", ANSWER) as step:
                await asyncio.sleep(0)
                step.update(output="On shelf 7.")
            request.update(output={"answer": "On shelf 7."})
