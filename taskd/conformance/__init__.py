"""
Check a running server against the HTTP contract, over HTTP, whatever it is written in.

Nothing here is used to serve, and nothing here knows how taskd serves: each check states a promise of the contract in
its own words, so that a fault that the server and a check share cannot hide.
"""
