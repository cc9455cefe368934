"""What runs on the worker: a noted observation becomes text, attributes, and one OTLP request."""
