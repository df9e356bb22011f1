"""Where runs are kept: one narrow interface, MLflow behind it, a tracker in memory beside it."""
