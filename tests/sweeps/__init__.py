"""Sweeps: begun, resumed, interrupted, extended, ranked; and what is left of runs whose process vanished."""
