"""Planted faults: a scripted agent finds each in at most three calls and 4,000 tokens."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent_server.conftest import Agent, agent_of
from agent_server.planted import FAULTS, Fault, crowd
from viewer.sample import Book

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]
NOBODY = 2**22 + 1
"""A process id that Linux gives to nobody."""
ROUNDS, GROWTH_BYTES = 12, 60_000_000
"""A leak of one session of 10,000 steps a round would be more than ten times as much."""


def plant(journal: Path, fault: Fault) -> None:
    """Write a fault into a journal; the process of what is still open is gone."""
    with Book(journal) as book:
        fault.plant(book)
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute("UPDATE open_spans SET pid = ?", (NOBODY,))


async def find(agent: Agent, fault: Fault) -> str:
    """Go about it as the instructions say, and return all that was read."""
    if fault.search:
        answers = [await agent.ask("search", text=fault.search)]
    else:
        answers = [await agent.ask("find_sessions", user="ada")]
        assert "broken: " in answers[0]
        if fault.compare:
            answers.append(await agent.ask("compare", session_a="broken", session_b=fault.compare))
            return "\n".join(answers)
        answers.append(await agent.ask("read_session", session_id="broken"))
    evidence = re.search(fault.evidence, "\n".join(answers))
    assert evidence, answers
    steps = re.findall(r"\[([0-9a-f]{16})\]", "\n".join(answers)[evidence.start() :]) or re.findall(
        r"\[([0-9a-f]{16})\]", "\n".join(answers)
    )
    answers.append(await agent.ask("read_step", session_id="broken", step=steps[0]))
    assert f"[{steps[0]}]" in answers[-1]
    return "\n".join(answers)


def named(fault: Fault) -> str:
    """Return the name of a fault."""
    return fault.plant.__name__


@pytest.mark.parametrize("fault", FAULTS, ids=named)
async def test_a_planted_fault_is_found_in_three_calls(journal: Path, fault: Fault) -> None:
    """The evidence is in what the agent has read, in three calls and 4,000 tokens at most."""
    plant(journal, fault)
    async with agent_of(journal) as agent:
        answers = await find(agent, fault)
    assert re.search(fault.evidence, answers), answers
    assert (agent.calls <= 3, agent.tokens < 4_000) == (True, True)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with a session of 10,000 steps in which nothing is wrong."""
    journal = tmp_path_factory.mktemp("crowded") / "read.sqlite3"
    with Book(journal) as book:
        crowd(book)
    return journal


@pytest.mark.slow
@pytest.mark.parametrize("fault", [each for each in FAULTS if not each.compare], ids=named)
async def test_a_planted_fault_is_found_among_ten_thousand_steps(crowded: Path, tmp_path: Path, fault: Fault) -> None:
    """The size of the session changes neither the evidence nor the number of calls and tokens."""
    journal = tmp_path / "read.sqlite3"
    await asyncio.to_thread(shutil.copy, crowded, journal)
    plant(journal, fault)
    async with agent_of(journal) as agent:
        answers = await find(agent, fault)
    assert re.search(fault.evidence, answers), answers
    assert (agent.calls <= 3, agent.tokens < 4_000) == (True, True)


@pytest.mark.slow
async def test_reading_a_large_session_again_and_again_takes_no_more_memory(crowded: Path) -> None:
    """After the first rounds the process grows by less than a fraction of the sessions that it has read."""
    async with agent_of(crowded) as agent:
        sizes = []
        for _ in range(ROUNDS + 3):
            await agent.ask("read_session", session_id="broken")
            await agent.ask("search", text="straw 77-", session_id="broken")
            sizes.append(resident_bytes())
    assert sizes[-1] - sizes[2] < GROWTH_BYTES, sizes


def resident_bytes() -> int:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
