"""Backend: a server that takes OTLP traces and is no Langfuse, such as a collector.

with Backend() as backend:
    ...                                   # send to backend.url
    backend.wait_for(3)
    assert backend.trees() == [("agent", ("think",), ("act",))]
"""

from __future__ import annotations

from peers.otlp import Receiver


class Backend(Receiver):
    """A receiver of OTLP traces at `/v1/traces`; no keys are needed, and headers are kept with each request."""

    traces_path = "/v1/traces"
    needs_keys = False
