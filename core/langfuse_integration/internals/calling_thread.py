"""The thread that made an object, which no later thread is taken for."""

from __future__ import annotations

import threading
import weakref

_here = threading.local()


class _Token:
    __slots__ = ("__weakref__",)


class CallingThread:
    """The thread that makes this object, or the greenlet where threads are greenlets.

    The system gives the number of a thread that has ended to the next one: by that alone, a thread that a request has
    left behind would count as the one that served the request. What a `threading.local` holds dies with its thread.

    Attributes:
        ident: what `threading.get_ident` returned.
    """

    __slots__ = ("_token", "ident")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        token = getattr(_here, "token", None)
        if token is None:
            token = _here.token = _Token()
        self._token = weakref.ref(token)

    def is_here(self) -> bool:
        """Return whether the thread calls that made this object."""
        return self.ident == threading.get_ident() and self._token() is not None
