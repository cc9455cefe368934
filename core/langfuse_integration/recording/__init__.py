"""What runs on the application's threads: note what starts and ends, and hand it to the worker."""
