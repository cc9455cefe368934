"""Methods of LlamaIndex without a span: building an index, async rerankers and async programs.

Each is wrapped in its class while LlamaIndex is recorded, and has a row or a fold as a span has. LlamaIndex's active
span stays as it is, since other instrumentation looks it up: `places.block` tells what stands below the row.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from langfuse_integration.internals.context_variables import reset_quietly
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording.tracing import registry

from . import places, spans
from .private import active_span_id, unspanned_classes

_STARTING = shielded("starting an observation of LlamaIndex")
_ENDING = shielded("ending an observation of LlamaIndex")
_WRAPPING = shielded("wrapping methods of LlamaIndex")

METHODS = {
    "BaseIndex": (
        *("from_documents", "build_index_from_nodes", "insert", "ainsert", "insert_nodes", "ainsert_nodes"),
        *("update_ref_doc", "aupdate_ref_doc", "refresh_ref_docs", "arefresh_ref_docs"),
    ),
    "BaseNodePostprocessor": ("apostprocess_nodes",),
    "BasePydanticProgram": ("acall",),
}
"""By the base class; methods that LlamaIndex or its subclasses define, if they are there and have no span."""

_wrapped: list[tuple[type, str, Any, Any]] = []
"""Class, attribute, and its value before and after; None before: the class had none."""


class Block:
    """A wrapped call in this context: the row below the active span.

    Attributes:
        parent_id: the active span around the call, or None.
        id: of the call's row or fold.
    """

    __slots__ = ("id", "parent_id", "token")

    def __init__(self, name: str, method: Callable[..., Any], instance: Any, arguments: tuple[Any, Any]) -> None:
        self.id = f"{name}-{uuid.uuid4()}"
        self.parent_id = active_span_id.get()
        self.token: Any = None
        with _STARTING:
            positional, named = arguments
            bound = inspect.signature(method).bind(*positional, **named)
            spans.enter(self.id, bound, instance, self.parent_id)
            if registry.get(self.id) is not None or places.folds.get(self.id) is not None:
                self.token = places.block.set(self)

    def end(self, result: Any) -> None:
        """End the row with the result of the call."""
        with _ENDING:
            self._leave()
            spans.exit_(self.id, result)

    def fail(self, error: BaseException) -> None:
        """End the row with the error of the call."""
        with _ENDING:
            self._leave()
            spans.drop(self.id, error)

    def _leave(self) -> None:
        if self.token is not None:
            reset_quietly(places.block, self.token)


def wrap() -> None:
    """Wrap the methods in every class that defines them, and in classes that are made later."""
    with _WRAPPING:
        for base in unspanned_classes():
            methods = METHODS[base.__name__]
            for kind in _with_subclasses(base):
                _wrap_methods(kind, methods)
            _replace(base, "__init_subclass__", classmethod(_class_hook(base, methods)))


def unwrap() -> None:
    """Undo `wrap`."""
    with _WRAPPING:
        while _wrapped:
            kind, name, before, after = _wrapped.pop()
            if vars(kind).get(name) is not after:
                continue
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    subclasses: list[type] = kind.__subclasses__()
    for subclass in subclasses:
        yield from _with_subclasses(subclass)


def _class_hook(base: type, methods: tuple[str, ...]) -> Callable[..., None]:
    before = vars(base).get("__init_subclass__")

    def init_subclass(kind: Any, **options: Any) -> None:
        if before is not None:
            before.__get__(None, kind)(**options)
        else:
            super(base, kind).__init_subclass__(**options)  # type: ignore[arg-type]
        with _WRAPPING:
            _wrap_methods(kind, methods)

    return init_subclass


def _wrap_methods(kind: type, methods: tuple[str, ...]) -> None:
    for name in methods:
        before = vars(kind).get(name)
        function = before.__func__ if isinstance(before, classmethod) else before
        if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
            continue
        after: Any = _async_wrapper(function) if inspect.iscoroutinefunction(function) else _wrapper(function)
        _replace(kind, name, classmethod(after) if isinstance(before, classmethod) else after)


def _replace(kind: type, name: str, after: Any) -> None:
    before = vars(kind).get(name)
    setattr(kind, name, after)
    _wrapped.append((kind, name, before, after))


def _wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(owner: Any, *positional: Any, **named: Any) -> Any:
        block = _begin(function, owner, positional, named)
        try:
            result = function(owner, *positional, **named)
        except BaseException as error:
            block.fail(error)
            raise
        block.end(result)
        return result

    return wrapper


def _async_wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(owner: Any, *positional: Any, **named: Any) -> Any:
        block = _begin(function, owner, positional, named)
        try:
            result = await function(owner, *positional, **named)
        except BaseException as error:
            block.fail(error)
            raise
        block.end(result)
        return result

    return wrapper


def _begin(function: Callable[..., Any], owner: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> Block:
    kind = owner if isinstance(owner, type) else type(owner)
    return Block(f"{kind.__name__}.{function.__name__}", function, owner, ((owner, *positional), named))
