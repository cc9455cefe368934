"""An observation that has begun and not ended: it runs, or its process died."""

from __future__ import annotations

import os
from typing import Self

from .replay import Observed


class OpenObserved(Observed):
    """An observation that had not ended when the journal was written last.

    Attributes:
        pid: the process that began it.
    """

    pid = 0

    @classmethod
    def of(cls, pid: int, body: bytes) -> list[Self]:
        """Return the observations in an OTLP request, as begun by process *pid*."""
        observations = cls.decoded(body, finished=False)
        for observation in observations:
            observation.pid = pid
        return observations

    @property
    def alive(self) -> bool:
        """Whether the process that began it still runs."""
        if os.name != "posix":  # signal 0 asks nothing elsewhere
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # the process belongs to another user
            return True
        return True
