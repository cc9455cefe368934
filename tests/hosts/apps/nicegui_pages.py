"""Pages of NiceGUI with handlers of all kinds, and visitors that NiceGUI simulates; prints each row as JSON."""

from __future__ import annotations

import asyncio
import json

from nicegui import ui
from nicegui.testing import user_simulation

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


if __name__ == "__main__":
    asyncio.run(main())
