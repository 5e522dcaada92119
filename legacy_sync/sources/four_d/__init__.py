"""How does a 4D REST server answer, and how do we read a whole table from it without losing a row?"""
