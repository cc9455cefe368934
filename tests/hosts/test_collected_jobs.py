"""Jobs, requests and generators that nothing but the garbage collector ends, since they refer to themselves."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from multiprocessing.pool import ThreadPool

import pytest

from langfuse_integration import langfuse_manager

START = """
import contextvars, gc, sys, threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.util import setup_testing_defaults
from langfuse_integration import langfuse_manager

others = [contextvars.ContextVar(str(number)) for number in range(40)]
wrong = []

def work(number):
    user = number % 3
    if langfuse_manager.current_session_id is not None:
        wrong.append((number, langfuse_manager.current_session_id))
    if user:
        langfuse_manager.set_session(f"s-{user}")
    for place in range(20):
        others[(number + place) % 40].set([number])
    if langfuse_manager.current_session_id != (f"s-{user}" if user else None):
        wrong.append((number, langfuse_manager.current_session_id))
"""
REQUESTS = """
def application(environ, start_response):
    work(environ["number"])
    start_response("200 OK", [])
    return []

def serve(start):
    for number in range(start, start + 15_000):
        environ = {"number": number}
        environ["itself"] = environ
        setup_testing_defaults(environ)
        application(environ, lambda *_: None)

threads = [threading.Thread(target=serve, args=(start,)) for start in (0, 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
JOBS = """
def job(number, itself):
    itself.append(itself)
    work(number)
    try:
        raise ValueError(number)
    except ValueError as error:
        itself.append(error)

with ThreadPoolExecutor(2) as pool:
    for number in range(15_000):
        pool.submit(job, number, [])
"""

GENERATORS = """
ended = []

def generator(number, itself):
    block = langfuse_manager.session(f"s-{number}") if number % 2 else langfuse_manager.trace_span("span")
    try:
        with block:
            yield number
    finally:
        ended.append(number)

def abandon(count):
    for number in range(count):
        itself = []
        steps = generator(number, itself)
        itself.append(steps)
        next(steps)
        del steps, itself
        for place in range(10):
            others[(number + place) % 40].set([number])

contextvars.Context().run(abandon, 25_000)
abandon(101)
while len(ended) < 25_101:  # another thread may be collecting: this one does nothing then
    gc.collect()
if langfuse_manager.current_session_id is not None:
    wrong.append(langfuse_manager.current_session_id)
"""


@pytest.mark.parametrize("served", [REQUESTS, JOBS, GENERATORS], ids=["requests", "jobs", "generators"])
def test_what_the_collector_ends_breaks_nothing(served: str) -> None:
    """No session of an earlier job is seen, and Python 3.11 does not crash: see garbage.py."""
    code = START + served + "print(len(wrong), wrong[:5])\n"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True, check=False, timeout=240
    )
    assert (done.returncode, done.stdout) == (0, "0 []\n"), done.stderr[-3000:]


def test_work_that_a_pools_job_has_started_keeps_its_session_in_any_later_thread() -> None:
    """Python may give the number of the pool's thread, once that has ended, to the thread that does the work."""
    numbers: list[int] = []

    def job() -> contextvars.Context:
        langfuse_manager.set_session("s-1")
        numbers[:] = [threading.get_ident()]
        return contextvars.copy_context()

    seen: list[str | None] = []
    again = 0
    while again < 5 and len(seen) < 2_000:
        pool = ThreadPool(1)
        started = pool.apply(job)
        pool.close()
        pool.join()

        def work(context: contextvars.Context = started) -> None:
            nonlocal again
            again += threading.get_ident() in numbers
            seen.append(context.run(lambda: langfuse_manager.current_session_id))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
            thread.join()
    assert again, "no thread got the number of an earlier one"
    assert set(seen) == {"s-1"}
    assert langfuse_manager.current_session_id is None
