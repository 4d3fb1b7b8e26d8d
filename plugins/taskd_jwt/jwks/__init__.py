"""Fetch, read and cache the issuer's published keys."""
