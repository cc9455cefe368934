"""One connection to a server: its name, its protocol version, and its calls in flight."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Protocol

from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.sessions.session import Session

from . import private
from .exchanges import McpExchange
from .tasks import Tasks

UNNAMED = "mcp"
"""A server that has not said its name: mcp 1.x forgets it once a session is initialized."""

LOOKS = 5
"""How often an unknown property of a connection is looked up again."""

_numbers = itertools.count(1)


class InFlight(Protocol):
    """A call that awaits its answer.

    Attributes:
        row: its row, or None while it shows in no row.
        session: on whose account it is made.
        transport_error: what broke the connection meanwhile, or None.
        exchanges: its requests so far.
    """

    exchanges: list[McpExchange]
    transport_error: Exception | None
    row: Observation | None
    session: Session | None

    @property
    def place(self) -> Parent | None:
        """The parent of rows that belong to the call."""
        ...


class Policy:
    """To which servers the session's and the user's id are sent.

    Args:
        everyone: to every server.
        servers: to these, by the names that they give themselves.
    """

    __slots__ = ("everyone", "servers")

    def __init__(self, everyone: bool = False, servers: frozenset[str] = frozenset()) -> None:
        self.everyone = everyone
        self.servers = servers


class Connection:
    """One connection, of a session alone or of a client with the session inside it.

    Attributes:
        on: False once it is no longer traced; wrappers that somebody has kept then only pass through.
        hollow: it only opens sessions of its own to do its work (llama-index's `BasicMCPClient`).
        in_flight: the calls that await an answer, by a token of their own.
        tasks: the background tasks that its calls have begun.
        version: the negotiated protocol version, or None.
        server: the server's name: as given, else as announced in a handshake, else as its answers say.
        named: the name is given or announced.
        transport: how the server is reached: stdio, http, sse, websocket or memory; None where that cannot be told.
        process: the parameters of the server's process, or None.
        identified: whether the session's and the user's id may be sent to this server.
        settled: nothing more is expected to be learned of the server.
        number: greater than that of connections made before.
    """

    __slots__ = (
        "__weakref__",
        "_announced",
        "_base",
        "_gateway",
        "_given",
        "_looks",
        "_policy",
        "_stamped",
        "_target",
        "hollow",
        "identified",
        "in_flight",
        "named",
        "number",
        "on",
        "process",
        "server",
        "settled",
        "tasks",
        "transport",
        "version",
    )

    def __init__(self, target: Any, server_name: str | None, policy: Policy, *, hollow: bool = False) -> None:
        self._target = weakref.ref(target)
        self.number = next(_numbers)
        self._given = server_name
        self._policy = policy
        self._announced: str | None = None
        self._stamped: str | None = None
        self._gateway = False
        self.transport: str | None = None
        self.process: Any = None
        self._looks = 0
        self.hollow = hollow
        self.in_flight: dict[object, InFlight] = {}
        self.tasks = Tasks()
        self.on = True
        self.version: str | None = None
        self._learned()

    def configure(self, server_name: str | None, policy: Policy) -> None:
        """Apply the application's new arguments."""
        self._given = server_name or self._given
        self._policy = policy
        self._learned()

    def introduced(self, name: str | None, version: str | None) -> None:
        """Note the server's name and protocol version from a handshake."""
        self._announced = name or self._announced
        self.version = version or self.version
        self._learned()

    def stamped(self, name: str) -> None:
        """Note which server an answer is from; answers of several servers come through a gateway.

        Such a name does not allow the session's and the user's id to be sent: a gateway passes on whatever its servers
        claim.
        """
        if self._stamped is None:
            self._stamped = name
        elif self._stamped != name:
            self._gateway = True
        else:
            return
        self._learned()

    def broke(self, error: Exception) -> None:
        """Note the error that broke the connection on every call in flight."""
        for call in list(self.in_flight.values()):
            call.transport_error = error

    def _learned(self) -> None:
        """Update all values that depend on the application's arguments and the handshake."""
        self._base: dict[str, Any] | None = None
        self.settled = False
        self._name()

    def _name(self) -> None:
        own = self._given or self._announced
        self.named = own is not None
        self.server: str = own or (None if self._gateway else self._stamped) or UNNAMED
        self.identified: bool = self._policy.everyone or own in self._policy.servers

    @property
    def given(self) -> str | None:
        """The server's name as the application gave it, or None."""
        return self._given

    @property
    def target(self) -> Any:
        """The session or client, or None once it is gone."""
        return self._target()

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata of every row of this connection; not to be changed."""
        if self._base is None:
            return self._gather()
        return self._base

    def _gather(self) -> dict[str, Any]:
        target = self._target()
        if target is not None:
            info, version = private.negotiated(target)
            self._announced = info or self._announced
            self.version = version or self.version
            if self.transport is None:
                self.transport, self.process = private.transport_of(target)
            self._name()
        facts: dict[str, Any] = {"mcp_server": self.server}
        if self.version is not None:
            facts["mcp_protocol_version"] = self.version
        if self.transport is not None:
            facts["mcp_transport"] = self.transport
        self._looks += 1
        if (self.version and self.transport and self.named) or self._looks >= LOOKS:
            self._base = facts
            self.settled = self.named or self._stamped is None
        return facts
