"""Context variables that are set for a block, which may end in another context than it began in."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TypeVar

T = TypeVar("T")


def reset_quietly(variable: ContextVar[T], token: Token[T]) -> None:
    """Restore the value from before *token*'s `set`; in another context there is nothing to do.

    A generator that is closed elsewhere, or by the garbage collector, ends its blocks in another context.
    """
    try:
        variable.reset(token)
    except ValueError:
        pass
