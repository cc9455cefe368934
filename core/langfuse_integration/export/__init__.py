"""From the queue to Langfuse: the worker, its outlets, and the sender."""
