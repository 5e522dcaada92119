"""Decides what a legacy row means for the ERP; `pipeline` and `load` are the only two that touch an edge."""
