"""Runs on disk, on their way to a store, and in one."""
