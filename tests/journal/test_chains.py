"""Large texts in the journal: each part is stored once, and every row is read back byte for byte."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.sample_rows import grown, history, rope_of, row, text_of
from langfuse_integration.encoding.row import Row
from langfuse_integration.encoding.shared_text import Rope, SharedText
from langfuse_integration.journal import nodes
from langfuse_integration.journal.bodies import Bodies, BrokenChain
from langfuse_integration.journal.journal import Journal
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.database import JournalFile

WRITER = 7


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def size_bytes(folder: Path) -> int:
    """What is in the files of a journal."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def assert_sound(journal: Journal) -> None:
    """No reference is dangling, and each node is counted as often as it is used."""
    used = dict.fromkeys((row[0] for row in journal.query("SELECT id FROM nodes")), 0)
    for number, parent, copy_of, _ in journal.query("SELECT id, parent, copy_of, 0 FROM nodes"):
        assert parent < number
        for reference in filter(None, (parent, copy_of)):
            used[reference] += 1
    for (pieces,) in journal.query("SELECT pieces FROM spans WHERE pieces IS NOT NULL"):
        for reference in {last for _, last in json.loads(pieces)}:
            used[reference] += 1
    assert dict(journal.query("SELECT id, uses FROM nodes")) == used


def read_back(journal: Journal) -> dict[str, bytes]:
    """The whole bodies that are in a journal, by span id."""
    return {stored.row.span_id: stored.row.body for _, stored in journal.rows(0, 100_000)}


def test_a_history_takes_three_times_what_was_said_at_most(tmp_path: Path) -> None:
    """500 steps that each send everything said before, as a model's input and as a graph's state with more in it."""
    chance = random.Random(1)
    messages = history(chance, 1)
    rows: list[Row] = []
    for step in range(500):
        messages += history(chance, 2)
        text = text_of(messages) if step % 2 else text_of({"messages": messages, "step": step, "done": False})
        rows.append(row(step, text))
    said = len(messages) * 400
    with opened(tmp_path / "j.db") as journal:
        for start in range(0, len(rows), 16):
            journal.append(WRITER, rows[start : start + 16])
        assert_sound(journal)
        assert read_back(journal) == {row.span_id: row.body for row in rows}
    assert size_bytes(tmp_path) < 3 * said
    assert sum(len(row.body) for row in rows) > 100 * said


def test_a_history_that_is_shared_from_the_encoder_on_is_stored_once(tmp_path: Path) -> None:
    """500 steps in two processes that each send everything said before, in parts: only what is new takes room."""
    chance = random.Random(5)
    text: SharedText | None = None
    rows: list[Row] = []
    for step in range(500):
        text = grown(text, history(chance, 2))
        rows.append(row(step, rope_of(text)))
    assert text is not None
    with opened(tmp_path / "j.db") as first, opened(tmp_path / "j.db") as second:
        for start in range(0, len(rows), 10):
            (first if start % 20 else second).append(WRITER, rows[start : start + 10])
        assert_sound(first)
        assert read_back(second) == {row.span_id: bytes(row.body) for row in rows}
        assert first.query("SELECT sum(coalesce(size_bytes, length(body))) FROM nodes")[0][0] < 1.1 * len(text)
        assert first.query("SELECT count(*) FROM nodes")[0][0] < 1.1 * 1_000
        for journal in (first, second):
            journal.query("DELETE FROM spans WHERE id % 2")
            journal.remove_unused(30)
        assert_sound(first)
        more = row(500, rope_of(grown(text, history(chance, 1))))
        second.append(WRITER, [more])
        assert_sound(first)
        assert read_back(first)[more.span_id] == bytes(more.body)
    assert size_bytes(tmp_path) < 3 * len(text)


def test_the_texts_of_a_batch_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 steps in one batch cost what they say, not what they send."""
    hashed = 0
    original = nodes._hash

    def counted(parent: bytes, text: bytes) -> bytes:
        nonlocal hashed
        hashed += len(text)
        return original(parent, text)

    monkeypatch.setattr(nodes, "_hash", counted)
    chance, rows = random.Random(6), list[Row]()
    text: SharedText | None = None
    for step in range(256):
        text = grown(text, history(chance, 2))
        rows.append(row(step, rope_of(text)))
    assert text is not None
    journal = Journal(None)
    journal.append(WRITER, rows)
    assert_sound(journal)
    assert read_back(journal) == {one.span_id: bytes(one.body) for one in rows}
    journal.close()
    assert hashed < 6 * len(text) < sum(len(one.body) for one in rows) / 10


def test_equal_texts_are_stored_once_whoever_writes_them(tmp_path: Path) -> None:
    """Two processes with the same instructions and documents, also where these follow something that grows."""
    chance = random.Random(2)
    document = chance.randbytes(20_000).hex()
    with opened(tmp_path / "j.db") as first, opened(tmp_path / "j.db") as second:
        first.append(1, [row(0, document, output=document)])
        size = first.query("SELECT sum(coalesce(size_bytes, length(body))) FROM nodes")[0][0]
        second.append(2, [row(number, document, session_id=None) for number in range(1, 20)])
        assert size == 40_000
        assert second.query("SELECT sum(coalesce(size_bytes, length(body))) FROM nodes") == [(size,)]
        messages: list[dict[str, str]] = []
        for number in range(20, 40):
            messages += history(chance, 1)
            second.append(2, [row(number, text_of({"messages": messages, "documents": document}))])
        assert second.query("SELECT sum(coalesce(size_bytes, length(body))) FROM nodes")[0][0] < 2.5 * size + 20 * 500
        assert_sound(first)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("state"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("edit"), st.integers(0, 3), st.integers(0, 8)),
        st.tuples(st.just("cut"), st.integers(0, 3), st.integers(0, 8)),
        st.tuples(st.just("branch"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("grow"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("fork"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("text"), st.integers(0, 3), st.integers(0, 9_000)),
        st.tuples(st.just("deliver"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("remove"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("collect"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("fail"), st.integers(0, 3), st.integers(1, 3)),
    ),
    max_size=40,
)


class Model:
    """Several processes on one journal, and what is in it."""

    def __init__(self, path: Path) -> None:
        self.journals = [Journal(path) for _ in range(2)]
        self.histories: list[list[dict[str, str]]] = [[] for _ in range(4)]
        self.texts: list[SharedText | None] = [None] * 4
        self.bodies: dict[str, bytes] = {}
        self.number = 0
        self.chance = random.Random(3)

    def record(self, who: int, text: str | Rope) -> None:
        session_id = None if who == 3 else f"chat {who % 2}"
        one = row(
            self.number, text, session_id=session_id, output=text[:2_000] if who and isinstance(text, str) else ""
        )
        self.number += 1
        self.journals[who % 2].append(who % 2 + 1, [one])
        self.bodies[one.span_id] = bytes(one.body)

    def grow(self, who: int, count: int) -> None:
        """A history whose texts are shared from the encoder on."""
        text = self.texts[who] = grown(self.texts[who], history(self.chance, count))
        self.record(who, rope_of(text))

    def fork(self, who: int, other: int) -> None:
        """A history that goes on from another one; both are in one state."""
        text = self.texts[who] = grown(self.texts[other], history(self.chance, 2))
        self.record(who, rope_of(text, *(each for each in self.texts[other : other + 1] if each is not None)))

    def say(self, who: int, count: int) -> None:
        self.histories[who] = self.histories[who] + history(self.chance, count)
        self.record(who, text_of(self.histories[who]))

    def state(self, who: int, count: int) -> None:
        self.histories[who] = self.histories[who] + history(self.chance, count)
        self.record(who, text_of({"messages": self.histories[who], "more": "x" * 900, "count": count}))

    def edit(self, who: int, place: int) -> None:
        messages = self.histories[who]
        if place < len(messages):
            self.histories[who] = [*messages[:place], *history(self.chance, 1), *messages[place + 1 :]]
        self.record(who, text_of(self.histories[who]))

    def cut(self, who: int, place: int) -> None:
        self.histories[who] = self.histories[who][place:]
        self.record(who, text_of(self.histories[who]))

    def branch(self, who: int, other: int) -> None:
        self.histories[who] = list(self.histories[other])
        self.record(who, text_of(self.histories[who]))

    def text(self, who: int, size: int) -> None:
        self.record(who, self.chance.choice(["}]}]", "line\n", "\u00e9", "},{"]) * size)

    def deliver(self, who: int, count: int) -> None:
        batch = self.journals[who % 2].next_batch(who % 2 + 1, count, 1_000_000)
        if batch is None:
            return
        start = 0
        ids = {number: stored.row.span_id for number, stored in self.journals[0].rows(0, 100_000)}
        for number, size in zip(batch.ids, batch.sizes, strict=True):
            assert batch.body[start : start + size] == self.bodies.pop(ids[number])
            start += size
        self.journals[who % 2].acknowledge(batch, keep=False)

    def remove(self, who: int, count: int) -> None:
        """Remove rows as retention and `prune` do."""
        rows = self.journals[who % 2].query("SELECT span_id FROM spans ORDER BY id LIMIT ?", (count,))
        for (span_id,) in rows:
            self.journals[who % 2].query("DELETE FROM spans WHERE span_id = ?", (span_id,))
            del self.bodies[span_id]

    def collect(self, who: int, count: int) -> None:
        self.journals[who % 2].remove_unused(0.001 * count)

    def fail(self, who: int, count: int) -> None:
        """A batch that is rolled back: its last row is refused."""
        said = self.histories[who] + history(self.chance, count)
        refused = row(self.number, "x" * 5_000)._replace(name=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(Exception, match="NOT NULL"):
            self.journals[who % 2].append(who % 2 + 1, [row(self.number, text_of(said)), refused])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_whatever_is_said_edited_branched_and_removed(steps: list[tuple[str, int, int]]) -> None:
    """After every order of steps each row that is left is what was recorded, for writers and for readers."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j.db"
        model = Model(path)
        for what, who, count in steps:
            getattr(model, what)(who, count)
        assert_sound(model.journals[0])
        assert read_back(model.journals[1]) == model.bodies
        with JournalFile(path) as file:
            assert dict(file.query("SELECT span_id, body FROM spans")) == model.bodies
        model.journals[0].query("DELETE FROM spans")
        assert model.journals[0].remove_unused(30)
        assert model.journals[0].query("SELECT * FROM nodes") == []
        for journal in model.journals:
            journal.close()


KILLED = """
import random, sys
from pathlib import Path
from journal.sample_rows import grown, history, rope_of, row, text_of
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.pruning import Pruning, Selection
from langfuse_integration.journal.retention import Retention
path, seed, removal = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
journal = Journal(path)
retention = Retention(journal, 200_000, 10**9)
chance, messages, text = random.Random(seed), [], None
print("ready", flush=True)
for number in range(seed * 100_000, seed * 100_000 + 2_000):
    new = history(chance, 1)
    messages, text = messages + new, grown(text, new)
    session = f"chat {number // 20}"
    journal.append(1, [row(number, rope_of(text) if number % 2 else text_of(messages), session_id=session)])
    if removal == "deliver" and number % 3 == 0:
        journal.acknowledge(journal.next_batch(1, 2, 1_000_000), keep=False)
        journal.remove_unused()
    elif removal == "evict" and number % 5 == 0:
        retention.apply(0.01)
        retention.give_back()
    elif removal == "prune" and number % 40 == 39:
        with Pruning(path) as pruning:
            pruning.remove(Selection(session_ids=[session], owed=True))
"""


@pytest.mark.parametrize("removal", ["deliver", "evict", "prune"])
@pytest.mark.parametrize("seed", [1, 3])
def test_a_kill_leaves_no_dangling_reference(tmp_path: Path, seed: int, removal: str) -> None:
    """A process that is killed while it writes and removes leaves whole rows, and nodes that are counted."""
    path = tmp_path / "j.db"
    tests = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(seed), removal],
        stdout=subprocess.PIPE, env={"PYTHONPATH": str(tests)}, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(0.3 * seed)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    chance, messages, text = random.Random(seed), list[dict[str, str]](), None
    expected: dict[str, bytes] = {}
    for number in range(seed * 100_000, seed * 100_000 + 300):
        new = history(chance, 1)
        messages, text = messages + new, grown(text, new)
        session_id = f"chat {number // 20}"
        one = row(number, rope_of(text) if number % 2 else text_of(messages), session_id=session_id)
        expected[one.span_id] = bytes(one.body)
    with opened(path) as journal:
        assert_sound(journal)
        bodies = read_back(journal)
        read = [span_id for span_id in bodies if span_id in expected]
        assert {span_id: bodies[span_id] for span_id in read} == {span_id: expected[span_id] for span_id in read}
        journal.query("DELETE FROM spans")
        assert journal.remove_unused(30)
        assert journal.query("SELECT count(*) FROM nodes") == [(0,)]


ODD = ("a\x00b", "\u2028\U0001f600'\"\\", "}]},{", "", "n" * 3_000)


def test_rows_with_any_columns_are_read_back(tmp_path: Path) -> None:
    """Names, sessions, users, parents and times that need care are no obstacle to the senders and readers of a row."""
    text = text_of(history(random.Random(6), 30))
    rows = [
        row(number, text)._replace(name=name, session_id=name, user_id=name, parent_id=parent, ended_ns=ended_ns)
        for number, (name, parent, ended_ns) in enumerate(
            product(ODD, ("", "no hexadecimal", "00ff" * 4), (0, 2**63 - 1))
        )
    ]
    expected = {one.span_id: one.body for one in rows}
    with opened(tmp_path / "j.db") as journal:
        journal.append(WRITER, rows)
        assert journal.query("SELECT count(*) FROM spans WHERE pieces IS NOT NULL") == [(len(rows),)]
        assert read_back(journal) == expected
        batch = journal.next_batch(WRITER, len(rows), 10_000_000)
        assert batch is not None
        assert batch.body == b"".join(bytes(one.body) for one in rows)
    with JournalFile(tmp_path / "j.db") as file:
        assert dict(file.query("SELECT span_id, body FROM spans")) == expected


def test_a_missing_node_is_damage(tmp_path: Path) -> None:
    """A row whose text cannot be read as a whole is never sent or shown in part."""
    with opened(tmp_path / "j.db") as journal:
        journal.append(WRITER, [row(0, text_of(history(random.Random(4), 50)))])
        journal.query("DELETE FROM nodes WHERE id = 20")
        with pytest.raises(BrokenChain):
            journal.next_batch(WRITER, 10, 1_000_000)
        assert journal._db is not None
        assert Bodies(journal._db).readable(b"not deflated", "[[0,1]]", None) == b""
    with Archive(tmp_path / "j.db") as archive:
        assert archive.observed(f"{1:032x}", [f"{1:016x}"]) == []
