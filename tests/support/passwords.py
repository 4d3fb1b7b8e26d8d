"""Passwords that contain a word nobody may read: random ones, and ones with characters that are special in URLs."""

from __future__ import annotations

from hypothesis import strategies as st

SENTINEL = "hunter2"
PASSWORDS = st.tuples(st.text(max_size=3), st.text(max_size=3)).map(SENTINEL.join)
AWKWARD_PASSWORDS = st.tuples(st.text("@:/?#&=%,[] \n", max_size=6), st.text("@:/?#&=%,[] \n", max_size=6)).map(
    SENTINEL.join
)
