"""Which thread made an object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from langfuse_integration.internals.calling_thread import CallingThread


def made_in_a_thread() -> CallingThread:
    """What a thread makes that has ended since."""
    made: list[CallingThread] = []
    thread = threading.Thread(target=lambda: made.append(CallingThread()))
    thread.start()
    thread.join()
    return made[0]


def test_the_thread_that_made_it_is_here() -> None:
    """A thread is known in the thread that made it, as often as it makes one, and in no other."""
    ours = CallingThread(), CallingThread()
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(CallingThread).result()
        assert pool.submit(theirs.is_here).result()
        assert not any(pool.submit(thread.is_here).result() for thread in ours)
    assert all(thread.is_here() for thread in ours)
    assert not theirs.is_here()


def test_no_later_thread_is_taken_for_it() -> None:
    """A thread with the number of one that has ended is another one."""
    again = 0
    for _ in range(200):
        ended = made_in_a_thread()
        assert not ended.is_here()
        with ThreadPoolExecutor(1) as pool:
            again += pool.submit(threading.get_ident).result() == ended.ident
            assert not pool.submit(ended.is_here).result()
    assert again, "no number was used again: this test has shown nothing"
