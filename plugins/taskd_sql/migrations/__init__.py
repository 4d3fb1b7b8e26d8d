"""The history of the schema, for Alembic: `env.py` is its entry, and each file in `versions` is one revision."""
