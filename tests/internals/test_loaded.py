"""Modules that another thread is still loading: looked at, they are as good as not loaded."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest

from fresh import run_fresh
from langfuse_integration.internals import event_loops
from langfuse_integration.internals.event_loops import in_event_loop, running_loop
from langfuse_integration.internals.loaded import loaded

HALF_LOADED = """
import importlib.abc, importlib.machinery, sys, threading
from langfuse_integration import langfuse_manager, runtime

class Held(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != HELD:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        self.execute, spec.loader.exec_module = spec.loader.exec_module, self.execute_when_told
        return spec

    def execute_when_told(self, module):
        held.set()
        go.wait(60)
        self.execute(module)

runtime.ready()  # what the application's thread itself imports
assert "asyncio" not in sys.modules
held, go = threading.Event(), threading.Event()
sys.meta_path.insert(0, Held())
importing = threading.Thread(target=__import__, args=("asyncio",))
importing.start()
assert held.wait(60) and "asyncio" in sys.modules
with langfuse_manager.session("s-1"), langfuse_manager.trace_span("first"), langfuse_manager.trace_span("second"):
    pass
assert not go.is_set()
go.set()
importing.join()
print(tuple(langfuse_manager.flush(60)))
"""


@pytest.mark.parametrize("held", ["asyncio.base_events", "asyncio.sslproto"])
def test_no_row_is_lost_while_a_thread_imports_asyncio(held: str) -> None:
    """The first rows of a process are recorded while another thread is in the middle of that import."""
    assert run_fresh(f"HELD = {held!r}\n{HALF_LOADED}") == "(2, 0, 0)\n"


@pytest.mark.parametrize("module", ["asyncio.events", "langfuse.span_filter"])
def test_an_attribute_that_is_not_there_yet_is_none(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module without its attributes is no error, and no event loop runs in one."""
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    assert loaded(module, "is_default_export_span") is None
    assert not in_event_loop()


@pytest.mark.parametrize("is_private_function_there", [True, False])
def test_a_running_loop_is_seen(is_private_function_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside of a coroutine there is an event loop, and outside there is none; also by the public function alone."""
    if not is_private_function_there:
        monkeypatch.setattr(event_loops, "loaded", without_private_function)

    async def inside() -> bool:
        return in_event_loop() and running_loop() is asyncio.get_running_loop()

    assert asyncio.run(inside())
    assert not in_event_loop()


def without_private_function(module: str, name: str) -> Any:
    """Return what `loaded` returns in a Python without asyncio's private function."""
    return None if name == "_get_running_loop" else loaded(module, name)
