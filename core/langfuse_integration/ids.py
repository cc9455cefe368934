"""Random trace and span ids."""

from __future__ import annotations

import os
from random import Random

# A generator of our own: an application that calls `random.seed(42)` would repeat the ids of its last process, and
# Langfuse replaces the whole row when a span id comes twice.
_random = Random()
new_bits = _random.getrandbits

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_trace_id() -> int:
    """Return 128 random bits, never 0."""
    return new_bits(128) or 1


def new_span_id() -> int:
    """Return 64 random bits, never 0."""
    return new_bits(64) or 1
