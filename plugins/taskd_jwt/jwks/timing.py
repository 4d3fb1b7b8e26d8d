"""How long an issuer's keys are used, and how often they are fetched."""

from __future__ import annotations

import attrs

__all__ = ["Timing"]


@attrs.frozen
class Timing:
    """
    How long an issuer's keys are used, and how often they are fetched, in seconds.

    After a pause, two fetches may start at the shorter interval, so that a key that is published soon after a fetch is
    found quickly.  At most five start in a minute, and no new key waits longer than the longer interval, however many
    unknown keys are named in tokens.

    Attributes:
        max_age_s: How long keys are used before requests wait for newer ones.
        refresh_age_s: Keys older than this are fetched again in the background.
        max_stale_age_s: How long keys may be used while they cannot be fetched again.
        wait_s: How long a request waits for a fetch.  This is shorter than the core's time limit for auth plugins, so
            that it is reached first.
        fetch_timeout_s: How long a fetch may take.
        min_interval_s: The shorter interval between the starts of two fetches.
        cooldown_s: The longer one.
        quiet_s: How long to wait before looking again for a key that was not found.
    """

    max_age_s: float = 600.0
    refresh_age_s: float = 540.0
    max_stale_age_s: float = 24 * 60 * 60.0
    wait_s: float = 2.5
    fetch_timeout_s: float = 10.0
    min_interval_s: float = 5.0
    cooldown_s: float = 15.0
    quiet_s: float = 30.0
