"""Runs on disk first, then sent: a log for each run, and the thread that delivers it."""
