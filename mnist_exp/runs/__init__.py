"""One run, from a prepared config to a closed tracker, and the files that it leaves."""
