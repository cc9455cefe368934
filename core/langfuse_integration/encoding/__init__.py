"""Encoding, on the worker: turns a recorded observation into text, attributes and one OTLP request."""
