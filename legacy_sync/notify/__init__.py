"""Who is told that something is not as it should be, when, and in which words? `look.py` reads top to bottom."""
