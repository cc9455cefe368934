"""Processes that write random histories into one journal and remove from it, until they are killed.

Nothing here imports pytest: the server of multiprocessing imports this module.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from journal.sample_rows import rows_of
from langfuse_integration.encoding.row import Row
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.pruning import Pruning, Selection
from langfuse_integration.journal.retention import Retention

MAX_BYTES = 300_000
LARGEST_BATCH = 4


def work(path: Path, seed: int, reports: Path, removes: bool) -> None:
    """Append the rows of *seed* in batches, each reported once it is committed; with *removes* also remove rows."""
    chance = random.Random(seed)
    journal = Journal(path)
    retention = Retention(journal, MAX_BYTES, 1e9)
    rows: list[Row] = []
    batch_size = 1
    with reports.open("w", buffering=1) as report:
        for row in rows_of(seed):
            rows.append(row)
            if len(rows) < batch_size:
                continue
            journal.append(seed, rows)
            report.write("".join(f"{one.span_id}\n" for one in rows))
            if removes:
                _remove(journal, retention, seed, rows, chance)
            rows = []
            batch_size = chance.randint(1, LARGEST_BATCH)


def _remove(journal: Journal, retention: Retention, seed: int, rows: Sequence[Row], chance: random.Random) -> None:
    """Remove rows in one of the ways in which they leave, or nothing."""
    way = chance.choice(("deliver", "deliver", "evict", "prune", "collect", "nothing", "nothing"))
    if way == "deliver":
        batch = journal.next_batch(seed, chance.randint(1, 5), 10_000_000)
        if batch is not None:
            journal.acknowledge(batch, keep=chance.random() < 0.3)
    elif way == "evict":
        retention.apply(0.01)
        retention.give_back()
    elif way == "prune" and journal.path is not None and rows[0].session_id is not None:
        with Pruning(journal.path) as pruning:
            pruning.remove(Selection(session_ids=[rows[0].session_id], owed=True))
    elif way == "collect":
        journal.remove_unused(0.001)
