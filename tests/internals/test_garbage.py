"""The garbage collector's callbacks: they tell whether this thread collects, and never stop the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from langfuse_integration.internals import garbage

NOTES = sys.version_info < (3, 12)
"""Whether collections matter, and are noted."""
THREADS = """
import gc, os, sys, threading, time
from langfuse_integration.internals import garbage, thread_frames

garbage.watch()

def note(phase, _):
    if looks:
        time.sleep(0.0005)  # any other thread runs meanwhile

def begin_and_end():
    while True:
        thread = threading.Thread(target=time.sleep, args=(0.0001,))
        thread.start()
        thread.join()

looks = False
sys.setswitchinterval(1e-6)
for _ in range(4):
    threading.Thread(target=begin_and_end, daemon=True).start()
gc.set_threshold(1)
"""


class Cycle:
    """Nothing but the collector frees it."""

    def __init__(self) -> None:
        self.me = self


def test_a_collection_is_known_in_its_own_thread_only() -> None:
    """A callback that the collector calls knows of it; one of another thread at that time does not, nor any later."""
    garbage.watch()
    told: list[bool] = []
    elsewhere: list[bool] = []

    def freed(_: object) -> None:
        told.append(garbage.is_collecting())
        thread = threading.Thread(target=lambda: elsewhere.append(garbage.is_collecting()))
        thread.start()
        thread.join()

    cycle = Cycle()
    first = weakref.ref(cycle, freed)
    del cycle
    gc.collect()
    assert (first(), told, elsewhere) == (None, [NOTES], [False])
    assert not garbage.is_collecting()
    cell = {1}
    second = weakref.ref(cell, freed)
    del cell
    assert (second(), told, elsewhere) == (None, [NOTES, False], [False, False])


def _run(code: str, tmp_path: Path) -> str:
    file = tmp_path / "program.py"
    file.write_text(THREADS + code)
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=True).stdout


def test_an_application_may_look_at_its_threads_while_garbage_is_collected(tmp_path: Path) -> None:
    """A sampling profiler calls `sys._current_frames`, which collects garbage under a lock of the interpreter's."""
    code = """
began = time.monotonic()
while time.monotonic() < began + 3:
    sys._current_frames()
print("over", flush=True)
os._exit(0)
"""
    assert _run(code, tmp_path) == "over\n"


@pytest.mark.parametrize("disabled", [False, True], ids=["enabled", "disabled"])
def test_threads_are_looked_at_without_a_collection(tmp_path: Path, disabled: bool) -> None:
    """The application's own callback of the collector lets threads run: it is not called meanwhile."""
    code = f"""
gc.callbacks.append(note)
if {disabled}:
    gc.disable()
began = time.monotonic()
while time.monotonic() < began + 2:
    looks = True
    frames = thread_frames.frames_by_thread()
    looks = False
    assert threading.get_ident() in frames
print(gc.isenabled(), flush=True)
os._exit(0)
"""
    assert _run(code, tmp_path) == f"{not disabled}\n"
