"""Reading a journal: sessions, traces, totals and search, for the terminal, the browser and tests."""
