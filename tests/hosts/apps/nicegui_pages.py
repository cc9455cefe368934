"""Pages of NiceGUI with handlers of all kinds, and visitors that NiceGUI simulates; prints each row as JSON."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable

from nicegui import ui
from nicegui.testing import User, user_simulation

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions


def work(name: str) -> None:
    with langfuse_manager.trace_span(name):
        pass


async def works(name: str) -> None:
    await asyncio.sleep(0)
    work(name)


def pages() -> None:
    @ui.page("/")
    def page(name: str = "") -> None:
        if name:
            langfuse_manager.set_session(f"page-of-{name}", user_id=name)
        work(f"page {name}")

        async def handler() -> None:
            await asyncio.gather(works(f"task {name}"), asyncio.to_thread(work, f"thread {name}"))

        ui.button("sync", on_click=lambda: work(f"sync {name}"))
        ui.button("async", on_click=handler)
        ui.timer(0.01, lambda: work(f"timer {name}"), once=True)

    @ui.page("/async")
    async def other_page(name: str = "") -> None:
        await asyncio.sleep(0)
        if name:
            langfuse_manager.set_session(f"other-of-{name}", user_id=name)
        await works(f"other {name}")
        ui.button("sync", on_click=lambda: work(f"other {name}"))


async def main() -> None:
    with recorded_sessions() as sessions:
        async with user_simulation() as visitor:
            pages()
            for count, name in enumerate(("ann", "", "bob"), 1):
                await visitor.open(f"/?name={name}")
                visitor.find("sync").click()
                visitor.find("async").click()
                while len(sessions.observations) < 7 * count - 2:
                    await asyncio.sleep(0.01)
                await visitor.open(f"/async?name={name}")
                visitor.find("sync").click()
                while len(sessions.observations) < 7 * count:
                    await asyncio.sleep(0.01)
    for row in sessions.observations:
        print(json.dumps([row.name, row.session_id, row.user_id]))


def busy_page(clicked: Callable[[str], None]) -> None:
    """A page whose buttons log in and out, and whose work is one row each in a handler, a task and a thread."""

    @ui.page("/busy")
    def page(name: str) -> None:
        def log_in() -> None:
            langfuse_manager.set_session(f"page-of-{name}", user_id=name)
            clicked(name)

        def log_out() -> None:
            langfuse_manager.clear_session()
            clicked(name)

        async def handler() -> None:
            work(f"handler {name}")
            await asyncio.gather(works(f"task {name}"), asyncio.to_thread(work, f"thread {name}"))
            clicked(name)

        ui.button("log in", on_click=log_in)
        ui.button("log out", on_click=log_out)
        ui.button("work", on_click=handler)


async def crowd(people: int, clicks: int) -> None:
    """Let *people* click in pages of their own; print the count of clicks and rows, and what is wrong."""
    done: Counter[str] = Counter()
    expected: Counter[tuple[str, str | None, str | None]] = Counter()

    async def visit(visitor: User, number: int) -> None:
        dice, name, session = random.Random(number), f"u{number}", None
        await visitor.open(f"/busy?name={name}")
        for click in range(clicks):
            button = dice.choice(["log in", "log out", "work", "work", "work"])
            visitor.find(button).click()
            while done[name] <= click:
                await asyncio.sleep(0.001)
            session = {"log in": f"page-of-{name}", "log out": None}.get(button, session)
            for kind in ("handler", "task", "thread") if button == "work" else ():
                expected[f"{kind} {name}", session, name if session else None] += 1

    with recorded_sessions() as sessions:
        async with user_simulation() as visitor:
            busy_page(lambda name: done.update([name]))
            await asyncio.gather(*(visit(User(visitor.http_client), number) for number in range(people)))
    rows = Counter((row.name, row.session_id, row.user_id) for row in sessions.observations)
    errors = [row.name for row in sessions.observations if row.level == "ERROR"]
    print(
        json.dumps(
            [done.total(), rows.total(), list((rows - expected).items()), list((expected - rows).items()), errors]
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
