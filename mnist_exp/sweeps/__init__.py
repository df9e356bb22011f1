"""What spans the runs of one command: their parent run, their manifest, their outcome."""
