"""How do files that somebody puts into a folder become rows, whatever they were written with?"""
