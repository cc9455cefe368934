"""Blocks that a generator holds open, known by the generator's frame.

A `with` block sets context variables; but Gradio, Starlette and others run each step of a generator in a fresh copy of
a context, where nothing is set. What a step calls still runs above the generator's frame, so that the innermost block
is found by a walk down the stack. The walk ends where an event loop runs a callback: below that is other work.
"""

from __future__ import annotations

import sys
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from types import CodeType, FrameType
from typing import Generic, TypeVar

from . import garbage
from .loaded import loaded

T = TypeVar("T")

GENERATOR = CO_GENERATOR | CO_ASYNC_GENERATOR
"""A flag of a generator's code."""


def _callback_code() -> CodeType | None:
    """Return the code in which asyncio runs a callback or a step of a task; None while asyncio is not loaded.

    `Handle._run` in Python 3.11 to 3.14; uvloop has no frame for it.
    """
    return getattr(getattr(loaded("asyncio.events", "Handle"), "_run", None), "__code__", None)


class GeneratorBlocks(Generic[T]):
    """The open blocks of generators; there are as many as generators that are not closed.

    Attributes:
        by_frame: the blocks of each frame, innermost last; empty where no generator holds a block open.
    """

    __slots__ = ("by_frame",)

    def __init__(self) -> None:
        self.by_frame: dict[FrameType, list[T]] = {}

    def open(self, frame: FrameType, block: T) -> None:
        """Note that the generator of *frame* has opened *block*; the garbage collector may end it."""
        garbage.watch()
        self.by_frame.setdefault(frame, []).append(block)

    def close(self, frame: FrameType, block: T) -> None:
        """Forget *block*."""
        blocks = self.by_frame.get(frame, [])
        if block in blocks:
            blocks.remove(block)
        if not blocks:
            self.by_frame.pop(frame, None)

    def innermost(self) -> T | None:
        """Return the innermost block of a generator that is running below the caller, or None."""
        callback = _callback_code()
        frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame is not None and frame.f_code is not callback:
            blocks = self.by_frame.get(frame)
            if blocks:
                return blocks[-1]
            frame = frame.f_back
        return None
