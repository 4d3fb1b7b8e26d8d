"""A read cache for taskd."""
