"""What the log says about a dependency that goes down and recovers."""

from __future__ import annotations

import logging

import pytest

from taskd.outages import OutageLog
from tests.support.clock import Clock

logger = logging.getLogger("taskd.test_outages")


@pytest.fixture
def service(clock: Clock) -> OutageLog:
    return OutageLog("The database", logger, clock=clock.monotonic)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that were logged since the last call."""
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_a_working_dependency_is_not_logged(service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Success is what everyone expects."""
    service.succeeded(clock.now_s)

    assert [] == told(caplog)


def test_an_outage_is_logged_once_with_its_first_reason(
    service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Later reasons are often consequences of the first, and there may be thousands of them."""
    for number in range(100):
        service.failed(f"reason {number}")
        clock.now_s += 1

    assert ["The database is unavailable: reason 0"] == told(caplog)


def test_the_end_of_an_outage_is_logged_once_with_its_length(
    service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The length counts from the first call that failed."""
    service.failed("reason")
    clock.now_s += 3
    service.failed("reason")
    clock.now_s += 4.5
    told(caplog)
    for _ in range(3):
        service.succeeded(clock.now_s)

    assert ["The database is available again after 7.5 s"] == told(caplog)


def test_a_call_from_before_the_failure_does_not_end_the_outage(
    service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that was already running when others failed says nothing about the present."""
    begun_s = clock.now_s
    clock.now_s += 1
    service.failed("reason")
    told(caplog)
    service.succeeded(begun_s)
    assert [] == told(caplog)
    service.succeeded(clock.now_s)

    assert ["The database is available again after 0.0 s"] == told(caplog)


def test_a_flapping_dependency_does_not_fill_the_log(
    service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """If it fails and recovers eight times a second, it is logged at most once every ten seconds."""
    for _ in range(240):
        service.failed("reason")
        clock.now_s += 0.0625
        service.succeeded(clock.now_s)
        clock.now_s += 0.0625

    assert ["The database is unavailable: reason", "The database is available again after 0.1 s"] * 3 == told(caplog)


def test_a_second_outage_soon_after_the_first_is_logged_if_it_lasts(
    service: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is held back for a while, not forgotten."""
    service.failed("first")
    service.succeeded(clock.now_s)
    told(caplog)
    service.failed("second")
    assert [] == told(caplog)
    clock.now_s += 10
    service.failed("third")

    assert ["The database is unavailable: third"] == told(caplog)


def test_a_later_outage_is_logged_even_if_nobody_saw_the_first_one_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the first outage is not invented, and the second one has its own length."""
    service = OutageLog("The database", logger, quiet_s=600, clock=clock.monotonic)
    service.failed("first")
    clock.now_s += 600
    service.failed("second")
    clock.now_s += 2
    service.succeeded(clock.now_s)

    assert [
        "The database is unavailable: first",
        "The database is unavailable: second",
        "The database is available again after 2.0 s",
    ] == told(caplog)


def test_the_numbers_say_whether_it_is_down_since_when_and_how_often(clock: Clock) -> None:
    """An outage counts once, however many calls fail."""
    service = OutageLog("The database", logger, clock=clock.monotonic)
    service.failed("first")
    service.succeeded(clock.now_s)
    clock.now_s += 5
    service.failed("second")
    service.failed("third")
    clock.now_s += 2

    assert {"outage": 1, "outage_seconds": 2, "outages": 2} == numbers_of(service)
    service.succeeded(clock.now_s)
    assert {"outage": 0, "outage_seconds": 0, "outages": 2} == numbers_of(service)


def test_an_outage_without_failures_is_over_in_the_numbers_too(clock: Clock) -> None:
    """Nothing need be reported for that."""
    service = OutageLog("The database", logger, quiet_s=600, clock=clock.monotonic)
    service.failed("first")
    clock.now_s += 600

    assert {"outage": 0, "outage_seconds": 0, "outages": 1} == numbers_of(service)


def numbers_of(service: OutageLog) -> dict[str, object]:
    """Return the numbers that *service* publishes."""
    return {each.name: each.value for each in service.measurements("database")}
