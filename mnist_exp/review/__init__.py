"""Team review: a question, computed checks, decisions bound to content, whose turn it is, a champion."""
