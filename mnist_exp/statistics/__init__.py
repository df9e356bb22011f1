"""Inference over replicates. Nothing here knows a run: values in, intervals and verdicts out."""
