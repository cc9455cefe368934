"""The bridge to Langfuse's own SDK, and the OpenTelemetry provider that both share."""
