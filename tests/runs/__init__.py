"""One run: what it writes, how it ends."""
