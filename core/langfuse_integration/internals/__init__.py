"""The lowest layer: shielding faults, forks, bounded dictionaries, and the application's call sites."""
