"""Holidays for taskd, in a table of its own."""
