"""Storage: SQLAlchemy Core through `databases`, on PostgreSQL (Neon) and on an embedded SQLite file."""
