"""Store tasks in PostgreSQL (for example Neon) or in an SQLite file, with SQLAlchemy Core and `databases`."""
