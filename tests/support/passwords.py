"""Passwords with a word in them that nobody may read: drawn at random, and with characters of URLs."""

from __future__ import annotations

from hypothesis import strategies as st

SENTINEL = "hunter2"
PASSWORDS = st.tuples(st.text(max_size=3), st.text(max_size=3)).map(SENTINEL.join)
AWKWARD_PASSWORDS = st.tuples(st.text("@:/?#&=%,[] \n", max_size=6), st.text("@:/?#&=%,[] \n", max_size=6)).map(
    SENTINEL.join
)
