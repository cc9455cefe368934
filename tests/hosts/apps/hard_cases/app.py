"""Every way in which a script's work leaves its thread, or its run: one button each.

Each records observations named for the case, whose input is the session that they must be in, "nobody" for none.
"""

import asyncio
import contextvars
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from langfuse_integration import langfuse_manager

CASES: dict[str, Callable[[str], None]] = {}

if "ours" not in st.session_state:
    st.session_state.ours = f"tab-{uuid.uuid4().hex[:8]}"
    langfuse_manager.set_session(st.session_state.ours, user_id=f"user of {st.session_state.ours}")
ours: str = st.session_state.ours


def record(name: str, expected: str) -> None:
    with langfuse_manager.trace_span(name, input=expected) as span:
        span.update(output="done")


def case(work: Callable[[str], None]) -> Callable[[str], None]:
    CASES[work.__name__] = work
    return work


class Shared:
    """What `cache_resource` makes once, in the run of the first tab that asks, and gives to all tabs.

    The threads are told that tab, as many applications do against Streamlit's warning of a missing context.
    """

    def __init__(self) -> None:
        self.superseded = threading.Event()
        first = get_script_run_ctx()
        self.pool = ThreadPoolExecutor(2, initializer=lambda: add_script_run_ctx(threading.current_thread(), first))
        self.plain_pool = ThreadPoolExecutor(2)
        list(self.pool.map(time.sleep, [0.01, 0.01]))
        list(self.plain_pool.map(time.sleep, [0.01, 0.01]))
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        add_script_run_ctx(thread)
        thread.start()


@st.cache_resource
def shared() -> Shared:
    return Shared()


@case
def plain(ours: str) -> None:
    record("plain", ours)


@case
def asyncio_run(ours: str) -> None:
    async def part(number: int) -> None:
        await asyncio.sleep(0.001 * number)
        record("task", ours)
        await asyncio.to_thread(record, "to_thread", ours)

    async def main() -> None:
        await asyncio.gather(*(part(number) for number in range(3)))

    asyncio.run(main())


@case
def session_set_in_a_task(ours: str) -> None:
    async def main() -> None:
        langfuse_manager.set_session(ours, user_id=f"user of {ours}")

    asyncio.run(main())
    record("after the task", ours)


@case
def shared_loop(ours: str) -> None:
    async def work() -> None:
        await asyncio.sleep(0.002)
        record("shared loop", ours)

    asyncio.run_coroutine_threadsafe(work(), shared().loop).result(20)


@case
def shared_pool_told_the_first_tab(ours: str) -> None:
    context = contextvars.copy_context()
    shared().pool.submit(context.run, record, "copied into the first tab's thread", ours).result(20)


@case
def shared_pool_told_for_each_task(ours: str) -> None:
    run = get_script_run_ctx()

    def work() -> None:
        add_script_run_ctx(threading.current_thread(), run)
        record("told for each task", ours)

    def told_nothing() -> None:
        threading.current_thread().__dict__.pop("streamlit_script_run_ctx", None)
        record("told nothing", "nobody")

    for each in (work, told_nothing):
        shared().plain_pool.submit(each).result(20)


@case
def told_thread(ours: str) -> None:
    def work() -> None:
        record("told thread", ours)
        # A context copied from here, in a thread that was told nothing, and in one that was told another tab.
        for pool in (ThreadPoolExecutor(1), shared().pool):
            pool.submit(contextvars.copy_context().run, record, "copied from a told thread", ours).result(20)
            if pool is not shared().pool:
                pool.shutdown()

    thread = threading.Thread(target=work)
    add_script_run_ctx(thread)
    thread.start()
    thread.join(60)


@case
def bare_thread(ours: str) -> None:
    threads = [
        threading.Thread(target=record, args=("bare thread", "nobody")),
        threading.Thread(target=langfuse_manager.bind(record), args=("bound thread", ours)),
    ]
    for thread in threads:
        thread.start()
        thread.join(60)


@case
def detached(ours: str) -> None:
    with langfuse_manager.detached():
        record("detached", "nobody")
        asyncio.run(asyncio.to_thread(record, "detached thread", "nobody"))
    record("after detached", ours)


@case
def block(ours: str) -> None:
    with langfuse_manager.session("a block", user_id="user of a block"):
        record("in a block", "a block")
        asyncio.run(asyncio.to_thread(record, "thread in a block", "a block"))
    record("after a block", ours)


@case
def write_stream(ours: str) -> None:
    def words() -> Iterator[str]:
        for word in ("one", "two"):
            record("word", ours)
            yield word

    st.write_stream(words())


@case
def write_stream_later(ours: str) -> None:
    async def words_later() -> AsyncIterator[str]:
        for word in ("three", "four"):
            await asyncio.sleep(0.001)
            record("word later", ours)
            yield word

    st.write_stream(words_later())


@case
def cache_data(ours: str) -> None:
    @st.cache_data
    def answer(question: str) -> str:
        record("cached", ours)
        return question.upper()

    answer(f"{ours} {time.time_ns()}")


@case
def cache_resource(ours: str) -> None:
    @st.cache_resource
    def client(name: str) -> object:
        record("resource", ours)
        return object()

    client(f"{ours} {time.time_ns()}")


@case
def langchain_batch(ours: str) -> None:
    from langchain_core.runnables import RunnableLambda, RunnableParallel

    def step(number: int) -> int:
        record("step", ours)
        return number

    chain = RunnableLambda(step)
    assert chain.batch([1, 2, 3], config={"max_concurrency": 3}) == [1, 2, 3]
    assert RunnableParallel(a=chain, b=chain).invoke(1) == {"a": 1, "b": 1}


@case
def rerun(ours: str) -> None:
    record("before the rerun", ours)
    st.session_state.again = True
    st.rerun()


@case
def other_session_from_here_on(ours: str) -> None:
    st.session_state.ours = f"tab-{uuid.uuid4().hex[:8]}"
    langfuse_manager.set_session(st.session_state.ours, user_id=f"user of {st.session_state.ours}")
    record("from here on", st.session_state.ours)


@case
def slow(ours: str) -> None:
    superseded = shared().superseded
    while not superseded.wait(0.01):
        record("slow", ours)
    record("after it was superseded", ours)
    st.text("not superseded")


@case
def supersede(ours: str) -> None:
    record("superseding", ours)
    shared().superseded.set()


@case
def logout(ours: str) -> None:
    langfuse_manager.clear_session()
    record("logged out", "nobody")
    for key in list(st.session_state):
        del st.session_state[key]
    st.rerun()


def clicked() -> None:
    record("on_click", ours)


@st.fragment
def fragment(ours: str) -> None:
    if st.button("fragment"):
        record("fragment", ours)


def parallel_part(number: int, ours: str) -> None:
    record("parallel fragment", ours)
    time.sleep(0.002 * number)
    langfuse_manager.trace_agent_step("late in a parallel fragment", ours, number)


if st.session_state.pop("again", False):
    record("after the rerun", ours)
st.button("callback", on_click=clicked)
fragment(ours)
with st.form("form"):
    said = st.text_input("said")
    if st.form_submit_button("send"):
        record("form", said)
for name, work in CASES.items():
    if st.button(name):
        work(ours)
if st.button("parallel"):
    for number in range(3):
        st.fragment(parallel_part, parallel=True)(number, ours)
if st.button("tabs held"):
    from langfuse_integration.recording import tracing

    st.text(str(len(tracing.store._hosts[0])))
st.text(st.session_state.ours)
