"""The link to one destination: translates rows, sends them, and judges the answer. Loaded with the first request."""

from __future__ import annotations

from collections.abc import Sequence

from ..destinations import OtlpDestination
from ..encoding.translation import Translation
from .exchange import Unreachable
from .http import OtlpHttp
from .pacing import Pace, Paced
from .response import DeliveryResult, judge_failure, judge_otlp


class OtlpLink:
    """Sends rows to one destination. For one thread.

    Args:
        companions: whether spans of other libraries go there as well.
    """

    def __init__(self, destination: OtlpDestination, timeout_s: float, *, companions: bool = True) -> None:
        self._http = OtlpHttp(destination, timeout_s)
        self._translation = Translation(destination.conventions, destination.capture, companions=companions)
        self._pace = Pace(1)  # translating a row takes the interpreter lock for longer than writing one does

    def send(self, bodies: Sequence[bytes]) -> tuple[DeliveryResult, int]:
        """Send rows in one request; return the result, and how many of them a partial success rejected."""
        try:
            response = self._http.spans(self._translation.request(Paced(list(bodies), self._pace)))
        except Unreachable as error:
            return judge_failure(error, "the URL"), 0
        return judge_otlp(response, len(bodies))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
