"""Everything that a person sees in the terminal."""
