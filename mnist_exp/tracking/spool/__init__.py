"""Store and forward: each run is written to a journal on disk, and a thread sends the journal's entries to a store."""
