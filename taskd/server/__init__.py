"""Serve HTTP: the connections of clients, and the processes that serve them."""
