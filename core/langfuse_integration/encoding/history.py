"""Chat histories that are sent to a model again and again, each time a little longer: only new messages are serialised.

An agent's step sends everything said before. If each message were serialised again, a step would cost the more the more
steps there were. A history that begins with an earlier one is continued from the JSON of that one: it is found by the
identity of its messages, or by their content where a framework makes new objects each time. A message that was changed
in place since then ends what is found by identity.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Hashable
from hashlib import blake2b
from typing import Any, NamedTuple

from ..recording.noted_messages import History, NotedMessage
from . import json_text
from .fragments import fragments
from .message_states import are_cached, copies_of, unchanged, written_states
from .shared_text import SharedText

SHORT = 8
"""Up to so many messages, a history is serialised as any other list."""
TEXTS = 64
TEXTS_BYTES = 16 * 1024 * 1024
BRANCHES = 4
"""The most histories that begin with the same two messages."""
_MARK_BYTES = 16
Mark = Hashable


class Cut(NamedTuple):
    """The beginning of a history that is too long, as the careful walk writes it.

    Attributes:
        messages: how many it holds.
        left: the bytes that are left after it.
    """

    messages: int
    text: SharedText | None
    left: int


class Branch:
    """One recent history.

    Attributes:
        states: what the JSON of each message was made of.
        marks: what tells each message from others: its content, or a hash of its JSON.
        points: (number of messages, their JSON without brackets), shorter ones first.
        cuts: beginnings, by the bytes and the depth that the careful walk began with.
        replaced: the messages are those of a later history, of which none has been found by identity yet.
    """

    __slots__ = ("_batch", "_same", "cuts", "marks", "messages", "points", "replaced", "states")

    def __init__(
        self, messages: list[Any], states: list[Any], marks: list[Mark], points: list[tuple[int, SharedText]]
    ) -> None:
        self.messages = messages
        self.states = states
        self.marks = marks
        self.points = points
        self.cuts: dict[tuple[int, int], Cut] = {}
        self.replaced = False
        self._batch: object = None
        self._same = 0

    def extend(self, messages: list[Any], marks: list[Mark], point: tuple[int, SharedText]) -> None:
        """Continue it up to the end of *messages*."""
        new = messages[len(self.messages) :]
        if self._same == len(self.messages):
            self._same += len(new)
        self.states += written_states(new)
        self.messages = messages
        self.marks += marks
        self.points.append(point)

    def replace(self, messages: list[Any]) -> None:
        """Take other objects with the same JSON."""
        self.messages = messages
        self.states = copies_of(messages)
        self._batch = None
        self.replaced = True

    def unchanged(self) -> int:
        """Return how many messages from the first on have the state that their JSON was made of."""
        if fragments.batch is None or self._batch is not fragments.batch:
            self._batch = fragments.batch
            self._same = unchanged(self.messages, self.states)
        return self._same

    @property
    def size_bytes(self) -> int:
        return self.points[-1][1].size_bytes

    def point(self, count: int) -> tuple[int, SharedText | None]:
        """Return the last point of up to *count* messages."""
        point = self.points[-1]
        if point[0] <= count:  # mostly: a history grows
            return point
        place = bisect_right(self.points, count, key=_count)
        return self.points[place - 1] if place else (0, None)


def _count(point: tuple[int, SharedText]) -> int:
    return point[0]


class Texts:
    """The JSON of recent histories; the least recently used is evicted first.

    For the worker's thread. It keeps messages alive, so it is cleared whenever the worker is idle.
    """

    def __init__(self, limit: int = TEXTS, limit_bytes: int = TEXTS_BYTES) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._size_bytes = 0
        self._branches: OrderedDict[tuple[Mark, Mark], list[Branch]] = OrderedDict()
        self._keys: OrderedDict[tuple[int, int], tuple[Mark, Mark]] = OrderedDict()

    def text(self, messages: list[Any], limit_bytes: int | None = None) -> SharedText | None:
        """Return the JSON of two messages or more, without brackets around.

        Args:
            limit_bytes: a text that is known to be longer is not extended any more.

        Returns:
            None if a message may change later.

        Raises:
            TypeError: orjson refuses one of them.
        """
        branch, same = self.branch(messages)
        if branch is None:
            return None
        count, text = branch.point(same)
        if text is not None and (count == len(messages) or (limit_bytes is not None and len(text) > limit_bytes)):
            return text
        extended = self._extend(branch, same, messages)
        return extended.point(len(messages))[1] if extended is not None else None

    def branch(self, messages: list[Any]) -> tuple[Branch | None, int]:
        """Return the branch of *messages*, and with how many messages it begins like them; None if one may change."""
        key = self._keys.get((id(messages[0]), id(messages[1])))
        best, same = _longest(self._branches.get(key, ()), messages) if key is not None else (None, 0)
        if best is not None and same > 1:
            best.replaced = False
            self._branches.move_to_end(key)  # type: ignore[arg-type]
            return best, same
        best, same = None, 0
        if not are_cached(messages):
            return None, 0
        key = _mark(messages[0]), _mark(messages[1])
        branches = self._branches.get(key, ())
        longest = max((len(branch.marks) for branch in branches), default=len(messages))
        marks = [*key, *map(_mark, messages[2:longest])]
        for branch in branches:
            count = _same(branch.marks, marks)
            if count > same:
                best, same = branch, count
        if best is None:
            text = SharedText(None, json_text.dumps(messages)[1:-1])
            best = Branch(messages, written_states(messages), marks, [(len(messages), text)])
            self._add(key, best)
            same = len(messages)
        elif same == len(best.messages) and not best.replaced:
            best.replace(messages[:same])  # the next ones are likely to be these objects
        self._keys[id(messages[0]), id(messages[1])] = key
        while len(self._keys) > 4 * self._limit:
            self._keys.popitem(last=False)
        return best, same

    def extend(self, branch: Branch, same: int, messages: list[Any]) -> Branch | None:
        """Return the branch that holds all of *messages*; None if one may change."""
        return branch if same == len(messages) else self._extend(branch, same, messages)

    def _extend(self, branch: Branch, same: int, messages: list[Any]) -> Branch | None:
        count, before = branch.point(same)
        new = messages[count:]
        if not are_cached(new):
            return None
        texts = [json_text.dumps(message) for message in new]
        part = b",".join(texts)
        text = SharedText(before, b"," + part if before is not None else part)
        point = len(messages), text
        if same == len(messages):  # a beginning of what is known
            insort(branch.points, point, key=_count)
            return branch
        marks = list(map(_mark, new, texts))
        if same == len(branch.messages):
            self._size_bytes += len(part)
            branch.extend(messages, marks, point)
            self._evict()
            return branch
        points = [earlier for earlier in branch.points if earlier[0] <= count]
        states = branch.states[:count] + written_states(new)
        branch = Branch(messages, states, branch.marks[:count] + marks, [*points, point])
        self._add((branch.marks[0], branch.marks[1]), branch)
        return branch

    def _add(self, key: tuple[Mark, Mark], branch: Branch) -> None:
        branches = self._branches.setdefault(key, [])
        branches.insert(0, branch)
        self._branches.move_to_end(key)
        self._size_bytes += branch.size_bytes
        if len(branches) > BRANCHES:
            self._size_bytes -= branches.pop().size_bytes
        self._evict()

    def _evict(self) -> None:
        while self._branches and (len(self._branches) > self._limit or self._size_bytes > self._limit_bytes):
            for branch in self._branches.popitem(last=False)[1]:
                self._size_bytes -= branch.size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._branches.clear()
        self._keys.clear()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._branches)


def _longest(branches: Any, messages: list[Any]) -> tuple[Branch | None, int]:
    """Return the branch with the longest common beginning, by identity, and its length."""
    best, longest = None, 0
    for branch in branches:
        same = min(_same(branch.messages, messages), branch.unchanged())
        if same > longest:
            best, longest = branch, same
    return best, longest


def _same(before: list[Any], messages: list[Any]) -> int:
    """Return how many items two lists have in common from the start; items are compared by identity first."""
    size = min(len(before), len(messages))
    # A list as it is where it may be: each slice touches all of its messages, which are in no cache by then.
    if (before if len(before) == size else before[:size]) == (messages if len(messages) == size else messages[:size]):
        return size
    for place in range(size):
        if before[place] is not messages[place] and before[place] != messages[place]:
            return place
    return size


def _mark(message: Any, text: bytes | None = None) -> Mark:
    content: Mark | None = json_text.content_of(message)
    if content is not None:
        return content
    return blake2b(json_text.dumps(message) if text is None else text, digest_size=_MARK_BYTES).digest()


texts = Texts()


def _json(history: History) -> Any:
    messages = history.restored()
    if len(messages) <= SHORT:
        return messages
    import orjson

    text = texts.text(messages)
    return messages if text is None else orjson.Fragment(b"[" + bytes(text) + b"]")


_json.plain = History.restored  # type: ignore[attr-defined]  # for the careful walk
json_text.register(History, _json)
json_text.register(NotedMessage, NotedMessage.restored)
