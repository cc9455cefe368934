"""What became of everything, as OpenTelemetry's metrics tell it to the application's own provider."""

from __future__ import annotations

import json

from fresh import run_fresh
from peers.otlp import Receiver

COUNTED = """
import json
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
from langfuse_integration import langfuse_manager
for _ in range(3):
    with langfuse_manager.trace_span("step"):
        pass
flushed = langfuse_manager.flush(10)
found = {
    metric.name: [metric.unit, *(point.value for point in metric.data.data_points)]
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
}
print(json.dumps([list(flushed), found]))
"""
NAME = "langfuse_integration.observations."


def test_what_became_of_observations_is_offered_as_metrics(receiver: Receiver) -> None:
    """Delivered and pending agree with what flush returns; lost has no point while nothing is lost."""
    flushed, found = json.loads(run_fresh(COUNTED, receiver.environment()))
    assert flushed == [3, 0, 0]
    assert found[NAME + "delivered"] == ["{observation}", 3]
    assert found[NAME + "pending"] == ["{observation}", 0]
    assert found.get(NAME + "lost", ["{observation}"]) == ["{observation}"]
    assert len(receiver.wait_for(3)) == 3
