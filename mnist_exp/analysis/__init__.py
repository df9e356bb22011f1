"""Runs read back from the store, and what they say together."""
