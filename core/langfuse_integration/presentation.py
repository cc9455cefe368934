"""How times, money, counts and kinds are shown: one form for the terminal and the browser."""
