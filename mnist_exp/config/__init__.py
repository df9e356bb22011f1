"""What a run is given: its checked configuration, and the seeds that a replicate draws."""
