"""The demo: a stand-in for the legacy server, sample data, and an embedded PostgreSQL with pyERP's tables."""
