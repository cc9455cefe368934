"""Dictionaries that cannot grow beyond a limit."""

from __future__ import annotations

import sys
import threading

from langfuse_integration.internals.bounded import BoundedDict, shrink


def test_the_oldest_entry_gives_way() -> None:
    """A bounded dict keeps what was inserted last; setting a key again keeps its place, renewing it does not."""
    entries: BoundedDict[str, int] = BoundedDict(2)
    entries["a"], entries["b"], entries["a"], entries["c"] = 1, 2, 3, 4
    assert dict(entries) == {"b": 2, "c": 4}

    entries.renew("b", 5)
    entries["d"] = 6
    assert dict(entries) == {"b": 5, "d": 6}


def test_a_dict_shrinks_from_its_oldest_entry() -> None:
    """Shrinking removes the oldest entries until as many are left as are wanted; fewer stay as they are."""
    entries = dict.fromkeys(range(10))
    shrink(entries, 4)
    assert list(entries) == [6, 7, 8, 9]
    shrink(entries, 5)
    assert list(entries) == [6, 7, 8, 9]
    shrink(entries, 0)
    assert entries == {}


def test_many_threads_keep_a_plain_dict_within_its_limit() -> None:
    """Threads that insert, remove and shrink at once leave no more entries than the limit."""
    limit, threads, each = 50, 8, 3_000
    entries: dict[tuple[int, int], None] = {}
    failures: list[Exception] = []

    def insert(thread: int) -> None:
        try:
            for number in range(each):
                entries[thread, number] = None
                if len(entries) > limit:
                    shrink(entries, limit - limit // 10)
                if not number % 3:
                    entries.pop((thread, number), None)
        except Exception as error:  # noqa: BLE001  shown by the test
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=insert, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)

    assert failures == []
    assert len(entries) <= limit
