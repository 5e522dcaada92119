"""How do lists of a web service become rows, when only its source file says how it is asked and how it answers?"""
