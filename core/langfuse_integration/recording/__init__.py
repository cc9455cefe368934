"""Recording, on the application's threads: notes starts and ends, and queues them for the worker."""
