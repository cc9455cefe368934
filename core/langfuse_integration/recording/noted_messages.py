"""Messages and documents as they are when they are noted: applications change them in place, before a row is written.

Noted are references, and besides them what may change: the contents of the last messages, and all fields of the first
one and of the very last ones. A row whose messages have changed since then gets copies with what was noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

WINDOW = 64
"""How many of the last messages are noted with their content: further ones are looked at when the row is written."""
WHOLE = 8
"""How many of the last messages are noted with all fields."""
KINDS_LIMIT = 1_000


class Keeper(NamedTuple):
    """How objects of one kind are noted.

    Attributes:
        contents: returns the content of each of several objects, by reference.
        fields: returns what may change in each of several objects, copied.
        present: returns the same by reference, to be compared with what *fields* returned earlier.
        restored: called with an object, the names of what was noted, and what was noted; returns a copy of the object
            that has it, or the object itself if nothing that a row has is different. The fields are None where only
            the content was noted.
        whole: how many of the last objects of a list are noted with all fields.
    """

    contents: Callable[[list[Any]], Iterable[Any]]
    fields: Callable[[list[Any]], list[Any]]
    present: Callable[[list[Any]], list[Any]]
    restored: Callable[[Any, Any, Any], Any]
    whole: int = WHOLE


class Keepers(dict[type, Keeper | None]):
    """The keepers by the class of an object; a class that is met the first time gets that of its nearest base."""

    def __init__(self) -> None:
        super().__init__()
        self._registered: dict[type, Keeper] = {}

    def register(self, kind: type, keeper: Keeper) -> None:
        """Note objects of *kind* and its subclasses by *keeper*."""
        self._registered[kind] = keeper
        self.clear()

    def __missing__(self, kind: type) -> Keeper | None:
        if len(self) >= KINDS_LIMIT:
            self.clear()
        keeper = self[kind] = next((self._registered[base] for base in kind.__mro__ if base in self._registered), None)
        return keeper


keepers = Keepers()


class NotedMessage:
    """One message or document, and what it was like."""

    __slots__ = ("_fields", "_keeper", "value")

    def __init__(self, value: Any, keeper: Keeper) -> None:
        self.value = value
        self._keeper: Keeper | None = keeper
        [self._fields] = keeper.fields([value])

    def restored(self) -> Any:
        """Return the object, or a copy of it as it was; on the worker's thread."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and not is_same(keeper.present([self.value]), [self._fields]):
            self.value = keeper.restored(self.value, None, self._fields)
        return self.value

    def __eq__(self, other: Any) -> bool:
        return bool(self.value == (other.value if type(other) is NotedMessage else other))

    __hash__ = None  # type: ignore[assignment]


class History:
    """A copy of a list of messages or documents: references, with what may change in the last ones.

    Attributes:
        messages: as they are now.
    """

    __slots__ = ("_contents", "_fields", "_keeper", "messages")
    _contents: tuple[Any, ...]
    _keeper: Keeper | None

    def __init__(self, messages: list[Any], keeper: Keeper | None = None) -> None:
        self.messages = messages.copy()
        self._keeper = None
        if keeper is None:
            return
        size, whole = len(messages), keeper.whole
        try:
            if size <= whole:
                self._contents = ()
                self._fields = keeper.fields(messages)
            else:
                self._contents = tuple(keeper.contents(messages if size <= WINDOW else messages[-WINDOW:]))
                self._fields = keeper.fields([messages[0], *messages[-whole:]])
            self._keeper = keeper
        except Exception:  # noqa: BLE001  a list with something else in it
            pass

    @classmethod
    def around(cls, messages: list[Any]) -> History:
        """Return a history of a list that nobody changes any more."""
        history = cls.__new__(cls)
        history.messages = messages
        history._keeper = None
        return history

    def restored(self) -> list[Any]:
        """Return the messages, with copies of those that have changed; on the worker's thread."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            try:
                self._restore(keeper)
            except Exception:  # noqa: BLE001  values of the application, such as a message that lost its content
                pass
        return self.messages

    def _restore(self, keeper: Keeper) -> None:
        messages, size = self.messages, keeper.whole
        whole = messages.copy() if len(messages) <= size else [messages[0], *messages[-size:]]
        first = len(messages) - len(self._contents)
        contents = tuple(keeper.contents(messages[first:])) if self._contents else ()
        if not is_same(contents, self._contents):
            for place, content in enumerate(self._contents):
                if not is_same(contents[place], content):
                    messages[first + place] = keeper.restored(messages[first + place], content, None)
        present = keeper.present(whole)
        if is_same(present, self._fields):
            return
        for number, (message, fields) in enumerate(zip(whole, present, strict=True)):
            if not is_same(fields, self._fields[number]):
                messages[number - len(whole) if number else 0] = keeper.restored(message, None, self._fields[number])

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.messages)

    def __eq__(self, other: Any) -> bool:
        return self.messages == (other.messages if type(other) is History else other)

    __hash__ = None  # type: ignore[assignment]


def is_same(now: Any, before: Any) -> bool:
    """Return whether two states are equal; values that cannot be compared are not."""
    try:
        return bool(now == before)
    except Exception:  # noqa: BLE001  values of the application
        return False
