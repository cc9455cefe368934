"""What the public module testing stands on."""
