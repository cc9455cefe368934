"""Ids: a trace's begins with its time, and none comes twice, whatever the application does with chance."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from fresh import run_fresh, without_settings
from langfuse_integration import langfuse_manager
from langfuse_integration.recording.ids import RANDOM_BITS
from langfuse_integration.testing import RecordedSessions

PRINT_IDS = """
    import random
    random.seed(42)
    from langfuse_integration import langfuse_manager
    with langfuse_manager.trace_span("step") as span:
        print(span.trace & (1 << 80) - 1, span.span)
"""


def test_a_trace_id_begins_with_its_time(sessions: RecordedSessions) -> None:
    """48 bits of milliseconds; what is below the root has the same id, and the next trace a later one."""
    found: list[int] = []
    for _ in range(3):
        with langfuse_manager.trace_span("root") as root, langfuse_manager.trace_span("step") as step:
            assert step.trace == root.trace
            assert root.trace >> RANDOM_BITS == root.started_ns // 1_000_000
            assert len(root.trace_id) == 32
            found.append(root.trace)
    assert len({trace % (1 << RANDOM_BITS) for trace in found}) == 3
    assert [trace >> RANDOM_BITS for trace in found] == sorted(trace >> RANDOM_BITS for trace in found)


def test_a_seed_of_the_application_repeats_no_id() -> None:
    """`random.seed(42)` is the application's: Langfuse would replace the rows of the process before."""
    first, second = (run_fresh(PRINT_IDS).split() for _ in range(2))
    assert len(first) == 2
    assert not {*first} & {*second}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_goes_on_with_other_ids() -> None:
    """Parent and child began with the same state of chance."""
    code = """
        import os
        from langfuse_integration.recording.ids import new_bits
        child = os.fork()
        bits = new_bits(64)
        if child:
            os.waitpid(child, 0)
        print(bits)
    """
    parent, child = run_fresh(code).split()
    assert parent != child


CLONES = """
    import ctypes, os
    from langfuse_integration import langfuse_manager
    from langfuse_integration.recording import tracing

    tracing.recorder.enabled = False  # no worker, which the copy would not have, while its locks might be held there

    def ids():
        for _ in range(1_000):
            with langfuse_manager.trace_span("step") as span:
                span.score("good", 1)
            yield f"{span.trace_id} {span.id}"

    list(ids())
    libc = ctypes.PyDLL(None)
    assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID: the next child has this process's id
    copy = libc.fork()
    if copy:
        os.waitpid(copy, 0)
    os.write(1, "\\n".join([f"pid {os.getpid()}", *ids(), ""]).encode())
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces of process ids are Linux's")
def test_two_machines_of_one_snapshot_make_other_ids() -> None:
    """A process and its copy, with the same memory and process id, agree in no trace and no observation."""
    own_namespace = ["unshare", "--pid", "--fork"]
    if subprocess.run([*own_namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make namespaces")
    done = subprocess.run(
        [*own_namespace, sys.executable, "-c", textwrap.dedent(CLONES)],
        env=without_settings(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("pid")] == ["pid 1", "pid 1"]
    found = [line.split() for line in lines if not line.startswith("pid")]
    assert [len({*each}) for each in zip(*found, strict=True)] == [2_000, 2_000]
