"""Trace and span ids: random, and a trace's begins with its time.

Virtual machines started from one snapshot (AWS Lambda's SnapStart, Firecracker) begin with the same memory, the
same process ids and the same state of chance. So each id is random bits with its time in ns on top (an exclusive or, as
random as before), and the state is made anew when the clock has jumped and with each batch of the worker.
"""

from __future__ import annotations

from random import Random

from ..internals import forks

# A generator of our own: an application that calls `random.seed(42)` would repeat the ids of its last process, and
# Langfuse replaces the whole row when a span id comes twice.
_random = Random()
new_bits = _random.getrandbits

new_chance = _random.seed
"""Begin with chance from the system again."""

forks.in_child(new_chance)

RANDOM_BITS = 80
"""A trace's id begins with 48 bits of milliseconds since 1970, as a UUIDv7 does, and ends with so many random ones.

An index over ids that come in the order of time grows at its end; one over random ids is rewritten all over. Who
samples by ids takes their last 56 or 64 bits (W3C Trace Context), which are random.
"""
