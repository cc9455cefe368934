"""Internal parts of the public module `testing`."""
