"""Sessions: the active one, its user, and the state that a service's workers share about it."""
