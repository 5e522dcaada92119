"""The only folder that knows the SQL of pyERP's database."""
