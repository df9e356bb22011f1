"""The tutorial's six models over many seeds, and what that makes of its published figures."""
