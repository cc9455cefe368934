"""Attributes that are computed when they are first read."""

from __future__ import annotations

from fresh import run_fresh
from langfuse_integration.internals.lazy import lazy


class Numbers:
    """Counts how often its attribute was computed."""

    computed = 0

    @lazy
    def answer(self) -> int:
        """The answer."""
        self.computed += 1
        return 42


def test_an_attribute_is_computed_once() -> None:
    """The value is kept with its object; another object computes its own."""
    numbers, others = Numbers(), Numbers()
    assert (numbers.answer, numbers.answer, numbers.computed, others.computed) == (42, 42, 1, 0)
    assert others.answer == 42
    assert Numbers.answer.__doc__ == "The answer."


def test_a_child_reads_what_a_thread_of_its_parent_was_computing() -> None:
    """Python 3.11's cached_property keeps its lock for ever in such a child."""
    code = """
        import os, signal, threading, time
        from langfuse_integration.internals.lazy import lazy

        class Numbers:
            def __init__(self, takes_s):
                self.takes_s = takes_s

            @lazy
            def answer(self):
                computing.set()
                time.sleep(self.takes_s)
                return 42

        computing = threading.Event()
        slow = Numbers(2)
        threading.Thread(target=lambda: slow.answer).start()
        computing.wait()
        child = os.fork()
        if not child:
            signal.alarm(10)
            os._exit(Numbers(0).answer)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_fresh(code) == "42\n"
