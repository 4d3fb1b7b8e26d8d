"""Migrate the schema with Alembic, which runs `env.py`; every file in `versions` is one revision."""
