"""The tutorial's six models over many replicates, and what follows for its published figures."""
