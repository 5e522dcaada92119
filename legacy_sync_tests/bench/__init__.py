"""How fast is a run, beside the least code that does the same work and beside dlt? `make bench`."""
