"""Check the order of lists."""

from __future__ import annotations

import asyncio

from taskd.conformance.client import Client
from taskd.conformance.expect import array_of, expect_equal, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.sections.filters import expect_names

__all__ = ["checks"]

checks = Checks(Section.LISTS)


@checks.add
async def everything(client: Client) -> None:
    """Without parameters, a list has every task, newest first."""
    made = [(await client.create(name))["id"] for name in "abc"]
    whole = [task["id"] for task in array_of(await client.get(client.tasks))]

    expect_equal(made[::-1], [task_id for task_id in whole if task_id in made], "ids of the tasks just created")
    expect_equal(sorted(whole, reverse=True), whole, "ids in the whole list")


@checks.add
async def empty(client: Client) -> None:
    """A list without tasks is []."""
    expect_equal([], await client.listed(), "the list")


@checks.add
async def whole_tasks(client: Client) -> None:
    """A list has the same tasks as a GET of each."""
    task = await client.create("a", description="d", due_at="2030-01-01T00:00:00Z", completed=True)
    expect_equal([await client.now(task)], await client.listed(), "the list")


@checks.add
async def by_age(client: Client) -> None:
    """Sorting by created_at puts the newest first unless order is asc."""
    for name in "abc":
        await client.create(name)
    expected = {"sort=created_at": "cba", "order=asc": "abc", "order=desc": "cba", "sort=created_at&order=asc": "abc"}
    await expect_names(client, expected)


@checks.add
async def by_change(client: Client) -> None:
    """Sorting by updated_at puts the last changed first unless order is asc."""
    tasks = {name: await client.create(name) for name in "abc"}
    task_of(await client.put(tasks["b"], {"description": "changed"}))
    # Servers may keep times in milliseconds.
    await asyncio.sleep(0.002)
    task_of(await client.complete(tasks["a"]))
    expected = {"sort=updated_at": "abc", "sort=updated_at&order=asc": "cba"}
    await expect_names(client, expected)


@checks.add
async def by_due_date(client: Client) -> None:
    """Sorting by due_at puts the earliest first unless order is desc; tasks without one come last in both."""
    for name, day in (("a", None), ("b", 2), ("c", 1), ("d", 2), ("e", None)):
        await client.create(name, due_at=day and f"2030-01-0{day}T00:00:00Z")
    expected = {"sort=due_at": "cbdae", "sort=due_at&order=asc": "cbdae", "sort=due_at&order=desc": "dbcea"}
    await expect_names(client, expected)


@checks.add
async def by_priority(client: Client) -> None:
    """Sorting by priority puts the most urgent first unless order is asc; ties are by age, in the same direction."""
    for name, priority in (("a", "high"), ("b", "low"), ("c", "urgent"), ("d", "medium"), ("e", "high")):
        await client.create(name, priority=priority)
    await expect_names(client, {"sort=priority": "ceadb", "sort=priority&order=asc": "bdaec"})


@checks.add
async def by_title(client: Client) -> None:
    """Sorting by title goes by code points after case folding, ascending unless order is desc; ties are by age."""
    names = ["b", "A", "a", "Z", "\u00e9", "\u00df", "st", "_", "\U0001f389", "\ufb01"]
    for name in names:
        await client.create(name)
    folded = sorted(names, key=str.casefold)
    for query, expected in {"sort=title": folded, "sort=title&order=desc": folded[::-1]}.items():
        expect_equal(expected, await client.names(query), f"the tasks for {query}")
