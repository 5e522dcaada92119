"""Brings the changes of a 4D ERP into pyERP's PostgreSQL, complete and in order."""

__version__ = "0.1.0"
