"""RedisStore: a store that all workers of a service share, and that goes on without its server.

One background thread speaks to Redis; whoever puts, gets or claims leaves an order with it. Each value is stamped with
the time of its making, and an older one never replaces a younger one. So a server that is back gets what could not be
written while it was gone, and what it forgot if it keeps nothing on disk, whatever other workers wrote meanwhile. While
it is gone, what this process knows itself is the answer.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from ...internals import forks
from ...internals.faults import warn_once
from ...internals.wake import Wake
from .key_value import KEPT_S, LIMIT, MemoryStore, done

if TYPE_CHECKING:
    from redis import Redis

STAMP = 20
"""Digits of the time (ns since 1970) that stands before each value."""
TIMEOUT_S = 0.5
"""What one exchange with the server may take before it counts as gone."""
RETRY_S = (0.05, 2.0)
"""How soon a server that is gone is tried again: at first, and at most, doubling."""
BATCH = 500
_EXIT_S = 1.0

_PUT = """
local there = redis.call('GET', KEYS[1])
if there and string.sub(there, 1, 20) >= string.sub(ARGV[1], 1, 20) then return there end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_CLAIM = """
local there = redis.call('GET', KEYS[1])
if there then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return there end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""

_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


class Order(NamedTuple):
    """What the background thread is asked to do: "put", "get" or "claim"."""

    what: str
    key: str
    stamped: bytes
    future: Future[Any] | None


class RedisStore:
    """A store in a Redis server.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py takes it.
        namespace: what all keys start with: one per application.
        limit: how many values this process knows itself, and how many may wait for a server that is gone.
        kept_s: seconds for which each is kept after its last change.

    Attributes:
        gone: whether the server cannot be reached now.
        outages: how many times it went.
        unanswered: how many gets and claims were answered from memory, since it was gone.
        refused: how many orders the server refused.
        lost: how many values it never got, since too many waited for it.

    Raises ImportError where redis-py is not installed, and ValueError for what is no URL.
    """

    def __init__(self, url: str, namespace: str, limit: int = LIMIT, kept_s: float = KEPT_S) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._connected,
        )
        self._namespace, self._limit = namespace, limit
        self._kept_ms = int(kept_s * 1000)
        self._known = MemoryStore(limit, kept_s)
        self._begin()
        self.gone = self._met = self._anew = self._telling = False
        self.outages = self.unanswered = self.refused = self.lost = 0
        _stores.add(self)

    def _begin(self) -> None:
        self._orders: deque[Order] = deque()
        self._unwritten: OrderedDict[str, Order] = OrderedDict()
        self._starting, self._learning = forks.Lock(), forks.Lock()
        self._thread: threading.Thread | None = None
        self._wake = Wake()
        self._closing = False

    # -- the application's threads

    def put(self, key: str, value: bytes) -> Future[None]:
        """Keep *value* as the youngest one; done when it is written, or waits for a server that is gone."""
        stamped = _stamped(value)
        future: Future[None] = Future()
        self._learn(key, stamped)
        self._order(Order("put", key, stamped, future))
        return future

    def get(self, key: str) -> Future[bytes | None]:
        """Return the value of *key*, None when there is none (any more)."""
        if self.gone:
            self.unanswered += 1
            return done(self.look(key))
        future: Future[bytes | None] = Future()
        self._order(Order("get", key, b"", future))
        return future

    def look(self, key: str) -> bytes | None:
        """Return what this process itself knows of *key*, at once."""
        found = self._known.look(key)
        return None if found is None else found[STAMP:]

    def claim(self, key: str, value: bytes) -> Future[bytes]:
        """Keep *value* unless there is one, and return the one that is there then."""
        future: Future[bytes] = Future()
        self._order(Order("claim", key, _stamped(value), future))
        return future

    def close(self, timeout_s: float) -> None:
        """Write what has to be written, within *timeout_s* seconds, and let go."""
        self._closing = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        self._redis.close()

    def forked(self) -> None:
        """Begin anew in a forked child: what waits belongs to the parent."""
        self._begin()

    def _order(self, order: Order) -> None:
        self._orders.append(order)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="langfuse-integration-store", daemon=True)
            with self._starting:
                if self._thread is None:
                    self._thread = thread
                    try:
                        thread.start()
                        atexit.register(_close_at_exit, weakref.ref(self))
                    except RuntimeError:  # no thread can be had now: the next order tries again
                        self._thread = None
        self._wake.set()

    def _learn(self, key: str, stamped: bytes) -> None:
        """Know *stamped* for *key*, unless something younger is known."""
        with self._learning:
            known = self._known.look(key)
            if known is None or known[:STAMP] <= stamped[:STAMP]:
                self._known.put(key, stamped)

    # -- the background thread

    def _work(self) -> None:
        pause_s, again_at = RETRY_S[0], 0.0
        while True:
            self._wake.wait(max(0.0, again_at - time.monotonic()) if self.gone else None)
            if self.gone:
                self._set_aside()
                if not self._closing and time.monotonic() >= again_at and not self._back():
                    pause_s = min(2 * pause_s, RETRY_S[1])
                    again_at = time.monotonic() + pause_s
            while self._orders and not self.gone:
                if self._send():
                    pause_s = RETRY_S[0]
                else:
                    again_at = time.monotonic() + pause_s
            if self._closing and (self.gone or not self._orders):
                return

    def _send(self) -> bool:
        orders = [self._orders.popleft() for _ in range(min(BATCH, len(self._orders)))]
        try:
            answers = self._exchange(orders)
        except Exception as error:  # noqa: BLE001  whatever redis-py and the network raise: the server is gone
            self._orders.extendleft(reversed(orders))
            self._went(error)
            self._set_aside()
            return False
        anew, self._anew = self._anew, False
        if anew and not self._telling:
            # redis-py made a broken connection again and said nothing. A server that was started anew knows of nobody:
            # it is told what is known here, and then asked once more.
            self._orders.extendleft(reversed(orders))
            self._tell_again()
            return True
        self._telling = anew
        for order, answer in zip(orders, answers, strict=True):
            if isinstance(answer, Exception):
                self.refused += 1
                warn_once("store refuses", "the store refuses what it is asked: %s", answer)
                answer = self._known.look(order.key)
            self._answer(order, answer)
        return True

    def _exchange(self, orders: list[Order]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for order in orders:
            name = self._namespace + order.key
            if order.what == "get":
                pipeline.get(name)
            elif order.what == "put":
                pipeline.eval(_PUT, 1, name, order.stamped, self._kept_ms)
            else:  # whose it was stays so, though the server may have forgotten
                pipeline.eval(_CLAIM, 1, name, self._known.look(order.key) or order.stamped, self._kept_ms)
        return pipeline.execute(raise_on_error=False)

    def _answer(self, order: Order, stamped: bytes | None) -> None:
        if stamped is not None:
            self._learn(order.key, stamped)
        if order.future is not None and order.future.set_running_or_notify_cancel():
            order.future.set_result(None if stamped is None or order.what == "put" else stamped[STAMP:])

    def _set_aside(self) -> None:
        """Answer from memory what cannot be asked now, and keep for later what cannot be written."""
        for _ in range(len(self._orders)):
            order = self._orders.popleft()
            if order.what == "put" or (order.what == "claim" and order.key not in self._unwritten):
                self._keep_for_later(order)
            if order.what == "claim":
                self._learn(order.key, self._known.look(order.key) or order.stamped)
            if order.future is not None:
                self.unanswered += order.what != "put"
                self._answer(order, self._known.look(order.key))

    def _keep_for_later(self, order: Order) -> None:
        self._unwritten.pop(order.key, None)
        self._unwritten[order.key] = order._replace(future=None)
        if len(self._unwritten) > self._limit:
            self._unwritten.popitem(last=False)
            self.lost += 1

    def _went(self, error: Exception) -> None:
        self.gone = True
        self.outages += 1
        warn_once(
            "store",
            "the store cannot be reached (%s): this process goes on with what it knows itself, and tries again",
            error,
        )

    def _back(self) -> bool:
        """Try the server again; it then gets first what it missed."""
        try:
            self._redis.ping()
        except Exception:  # noqa: BLE001  as above
            return False
        self._tell_again()
        self.gone = False
        return True

    def _connected(self, connection: Any) -> None:
        """Take note of each connection that redis-py makes after the first one."""
        connection.on_connect()
        self._anew, self._met = self._met, True

    def _tell_again(self) -> None:
        """Let all that is known go there first; what is younger there stays."""
        known = (Order("put", key, stamped, None) for key, stamped in self._known.all())
        self._orders.extendleft([*known, *self._unwritten.values()][::-1])
        self._unwritten.clear()
        self._anew, self._telling = False, True


def _stamped(value: bytes) -> bytes:
    return b"%0*d%b" % (STAMP, time.time_ns(), value)


def _close_at_exit(store: weakref.ref[RedisStore]) -> None:
    found = store()
    if found is not None:
        found.close(_EXIT_S)


def _forked() -> None:
    for store in list(_stores):
        store.forked()


forks.in_child(_forked)
