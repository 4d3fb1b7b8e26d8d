"""Queries that each break one promise: they filter, sort or page slightly wrongly."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

import attrs

from taskd.queries import Order, Position, Sort, TaskPage, TaskQuery
from taskd.tasks import Priority, Status, Task

__all__ = ["BROKEN_QUERIES"]


class NoSetIsEverySet(TaskQuery):
    def matches(self, task: Task) -> bool:
        statuses = self.statuses or frozenset(Status)
        return super(NoSetIsEverySet, attrs.evolve(self, statuses=statuses)).matches(task)


class PrioritiesIgnored(TaskQuery):
    def matches(self, task: Task) -> bool:
        return super(PrioritiesIgnored, attrs.evolve(self, priorities=frozenset(Priority))).matches(task)


class AnyTag(TaskQuery):
    def matches(self, task: Task) -> bool:
        has_any = not self.tags or bool({*self.tags} & {*task.tags})
        return has_any and super(AnyTag, attrs.evolve(self, tags=())).matches(task)


class TagsWithCommas(TaskQuery):
    """Stores tags as a single text, separated by commas."""

    def matches(self, task: Task) -> bool:
        tags = ",".join(task.tags).split(",")
        return {*self.tags} <= {*tags, *task.tags} and super(TagsWithCommas, attrs.evolve(self, tags=())).matches(task)


class PartsOfTags(TaskQuery):
    def matches(self, task: Task) -> bool:
        has_all = all(tag in "\0".join(task.tags) for tag in self.tags)
        return has_all and super(PartsOfTags, attrs.evolve(self, tags=())).matches(task)


class TagsInAnyCase(TaskQuery):
    def matches(self, task: Task) -> bool:
        has_all = {tag.lower() for tag in self.tags} <= {tag.lower() for tag in task.tags}
        return has_all and super(TagsInAnyCase, attrs.evolve(self, tags=())).matches(task)


class DueBeforeIncluded(TaskQuery):
    def _is_due(self, due_at: dt.datetime | None) -> bool:
        return super()._is_due(due_at) or (due_at is not None and due_at == self.due_before)


class DueAfterExcluded(TaskQuery):
    def _is_due(self, due_at: dt.datetime | None) -> bool:
        return super()._is_due(due_at) and (due_at is None or due_at != self.due_after)


class NeverDueIsDueBefore(TaskQuery):
    def _is_due(self, due_at: dt.datetime | None) -> bool:
        return super()._is_due(due_at) or (due_at is None and self.due_after is None)


class NeverDueFirst(TaskQuery):
    """Sorts as with `NULLS FIRST`."""

    def _rank(self, position: Position) -> tuple[object, ...]:
        return (not super()._rank(position)[0], *super()._rank(position)[1:])


class NeverDueSmallest(TaskQuery):
    """Sorts like databases in which nulls are smaller than any value."""

    def _rank(self, position: Position) -> tuple[object, ...]:
        return (position.key is not None, position.key, position.id)


class NeverDueGreatest(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        return (position.key is None, position.key, position.id)


class TiesAlwaysAscend(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        direction = 1 if self.order is Order.ASC or self.sort is Sort.CREATED_AT else -1
        return (*super()._rank(position)[:2], direction * position.id.int)


class TiesAlwaysDescend(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        direction = 1 if self.order is Order.DESC or self.sort is Sort.CREATED_AT else -1
        return (*super()._rank(position)[:2], direction * position.id.int)


class TiesAsStored(TaskQuery):
    def in_order(self, tasks: Iterable[Task]) -> list[Task]:
        if self.sort is Sort.CREATED_AT:
            return super().in_order(tasks)
        is_descending = self.order is Order.DESC
        return sorted(tasks, key=lambda task: self._rank(self.position_of(task))[:2], reverse=is_descending)


class OldestByCreation(TaskQuery):
    """Sorts by `created_at` instead of by id."""

    def in_order(self, tasks: Iterable[Task]) -> list[Task]:
        if self.sort is not Sort.CREATED_AT:
            return super().in_order(tasks)
        # In the order in which they were stored.
        return [*tasks][:: 1 if self.order is Order.ASC else -1]


class TitlesInThisCase(TaskQuery):
    def _key(self, task: Task) -> str | int | dt.datetime | None:
        return task.title if self.sort is Sort.TITLE else super()._key(task)


class TitlesInLowerCase(TaskQuery):
    def _key(self, task: Task) -> str | int | dt.datetime | None:
        return task.title.lower() if self.sort is Sort.TITLE else super()._key(task)


class TitlesInUTF16(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        first, key, last = super()._rank(position)
        return (first, key.encode("utf-16-be") if isinstance(key, str) else key, last)


class TitlesAsInDictionaries(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        first, key, last = super()._rank(position)
        return (first, re.sub(r"[\W_]", "", key) if isinstance(key, str) else key, key, last)


class PrioritiesByName(TaskQuery):
    def _rank(self, position: Position) -> tuple[object, ...]:
        first, key, last = super()._rank(position)
        names = [priority.value for priority in Priority]
        return (first, names[key] if self.sort is Sort.PRIORITY and isinstance(key, int) else key, last)


class UpdatedIsCreated(TaskQuery):
    def _key(self, task: Task) -> str | int | dt.datetime | None:
        return task.created_at if self.sort is Sort.UPDATED_AT else super()._key(task)


class AlwaysAscending(TaskQuery):
    def in_order(self, tasks: Iterable[Task]) -> list[Task]:
        return super(AlwaysAscending, attrs.evolve(self, order=Order.ASC)).in_order(tasks)


class LimitIgnored(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        return super(LimitIgnored, attrs.evolve(self, limit=None)).page(tasks, seq)


class OneMoreThanTheLimit(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        limit = None if self.limit is None else self.limit + 1
        return super(OneMoreThanTheLimit, attrs.evolve(self, limit=limit)).page(tasks, seq)


class NeverMore(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        return attrs.evolve(super().page(tasks, seq), has_more=False)


class MoreIfFull(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        page = super().page(tasks, seq)
        return attrs.evolve(page, has_more=len(page.tasks) == self.limit)


class CountOfThePage(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        page = super().page(tasks, seq)
        return attrs.evolve(page, total=len(page.tasks) if self.count else None)


class CountOfTheRest(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        rest = filter(self.is_on_page, tasks)
        return attrs.evolve(super().page(tasks, seq), total=sum(map(self.matches, rest)) if self.count else None)


class CountOfAll(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        return attrs.evolve(super().page(tasks, seq), total=len([*tasks]) if self.count else None)


class CountUnasked(TaskQuery):
    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        return super(CountUnasked, attrs.evolve(self, count=True)).page(tasks, seq)


class SeqOfTheTasks(TaskQuery):
    """Returns the highest version on the page as `seq`."""

    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        page = super().page(tasks, seq)
        return attrs.evolve(page, seq=max((task.version for task in page.tasks), default=0))


class FirstTaskAgain(TaskQuery):
    def is_on_page(self, task: Task) -> bool:
        return super().is_on_page(task) or self.position_of(task) == self.after


class TiesSkipped(TaskQuery):
    """Begins a page at the next key, not at the next task."""

    def is_on_page(self, task: Task) -> bool:
        is_tie = self.sort is not Sort.CREATED_AT and self.after is not None and self._key(task) == self.after.key
        return super().is_on_page(task) and not is_tie


class PagesBeginAfterATask(TaskQuery):
    """Begins at the first task if the one before the page is gone."""

    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        is_there = self.after is None or any(task.id == self.after.id for task in tasks)
        query = self if is_there else attrs.evolve(self, after=None)
        return super(PagesBeginAfterATask, query).page(tasks, seq)


class PagesBeginWhereTheTaskIs(TaskQuery):
    """Ignores the key in the position, and uses the task's current one."""

    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        found = [self.position_of(task) for task in tasks if self.after and task.id == self.after.id]
        return super(PagesBeginWhereTheTaskIs, attrs.evolve(self, after=(*found, self.after)[0])).page(tasks, seq)


BROKEN_QUERIES = [each for each in TaskQuery.__subclasses__() if each.__module__ == __name__]
