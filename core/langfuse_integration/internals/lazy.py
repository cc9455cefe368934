"""Attributes that are computed when they are first read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, TypeVar

T_co = TypeVar("T_co", covariant=True)


class lazy(cached_property[T_co]):
    """An attribute that is computed when it is first read, and kept: two threads may both compute it.

    Python 3.11's `cached_property` has one lock for all objects of a class. A child that is forked while another thread
    of the parent computes the attribute of any of them would wait for that lock for ever.
    """

    def __init__(self, function: Callable[[Any], T_co]) -> None:
        super().__init__(function)
        self.lock = nullcontext()
