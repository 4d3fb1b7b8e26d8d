"""Serve HTTP: handle clients' connections, and run the processes that do so."""
