"""Stores that do not return what was stored."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from functools import partial
from uuid import UUID, uuid4

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey
from taskd.tasks import NewTask, Task
from tests.support.broken_stores import altered
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import MemoryStore

value_fault = partial(store_fault, "values")

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
LAST_32_BITS = EPOCH + dt.timedelta(seconds=2**31 - 1)


class Lossy(MemoryStore):
    """Stores something else than it was given."""

    def lossy(self, task: Task) -> Task:
        raise NotImplementedError

    def keep(self, task: Task) -> Task:
        return super().keep(self.lossy(task))


class LossyOnRead(MemoryStore):
    """Returns a new task correctly, but reads something else from the database later."""

    def lossy(self, task: Task) -> Task:
        raise NotImplementedError

    async def get(self, owner: str, task_id: UUID) -> Task:
        return self.lossy(await super().get(owner, task_id))

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(owner, query)
        page.tasks[:] = map(self.lossy, page.tasks)
        return page


@value_fault()
class TitlesStripped(Lossy):
    """Strips white space from titles."""

    def lossy(self, task: Task) -> Task:
        return altered(task, title=task.title.strip())


@value_fault()
class TitlesCutOff(Lossy):
    """Cuts titles off after 191 characters, the longest text that MySQL once indexed."""

    def lossy(self, task: Task) -> Task:
        return altered(task, title=task.title[:191])


@value_fault()
class TitlesCutOffInBytes(Lossy):
    """Limits titles to 255 bytes of UTF-8, not to 200 characters."""

    def lossy(self, task: Task) -> Task:
        return altered(task, title=task.title.encode()[:255].decode(errors="ignore"))


@value_fault()
class DescriptionsCutOff(Lossy):
    """Cuts descriptions off after 4,000 characters, as a column might."""

    def lossy(self, task: Task) -> Task:
        return altered(task, description=task.description and task.description[:4000])


@value_fault()
class TextsNormalized(Lossy):
    """Stores titles in Unicode's normalization form C."""

    def lossy(self, task: Task) -> Task:
        return altered(task, title=unicodedata.normalize("NFC", task.title))


@value_fault()
class EmptyIsNull(Lossy):
    """Stores an empty description as null, as Oracle does."""

    def lossy(self, task: Task) -> Task:
        return altered(task, description=task.description or None)


@value_fault()
class NullIsEmpty(LossyOnRead):
    """Returns an empty text for a description that is null."""

    def lossy(self, task: Task) -> Task:
        return altered(task, description=task.description or "")


@value_fault()
class LineBreaksUnified(Lossy):
    """Turns CR LF into LF, as text files do."""

    def lossy(self, task: Task) -> Task:
        return altered(task, description=task.description and task.description.replace("\r\n", "\n"))


@value_fault()
class MarkupRemoved(Lossy):
    """Removes what looks like HTML from titles."""

    def lossy(self, task: Task) -> Task:
        return altered(task, title=re.sub(r"<[^>]*>", "", task.title) or "-")


@value_fault()
class EscapesReplaced(Lossy):
    """Takes a backslash and an n in a description for a line break."""

    def lossy(self, task: Task) -> Task:
        return altered(task, description=task.description and task.description.replace("\\n", "\n"))


@value_fault()
class NoEmoji(LossyOnRead):
    """Replaces characters outside the BMP in tags, like MySQL's three-byte UTF-8."""

    def lossy(self, task: Task) -> Task:
        return altered(task, tags=tuple(re.sub("[\U00010000-\U0010ffff]", "?", tag) for tag in task.tags))


@value_fault()
class TagsInLowerCase(Lossy):
    """Stores tags in lower case."""

    def lossy(self, task: Task) -> Task:
        return altered(task, tags=tuple(tag.lower() for tag in task.tags))


@value_fault()
class TagsCutOff(Lossy):
    """Keeps the first ten tags."""

    def lossy(self, task: Task) -> Task:
        return altered(task, tags=task.tags[:10])


@value_fault()
class TagsAsList(LossyOnRead):
    """Returns tags as a list, as a JSON column would."""

    def lossy(self, task: Task) -> Task:
        return altered(task, tags=[*task.tags])


@value_fault()
class MillisecondsOnly(LossyOnRead):
    """Stores times in milliseconds, like MongoDB."""

    def lossy(self, task: Task) -> Task:
        def cut(moment: dt.datetime) -> dt.datetime:
            return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

        return altered(task, created_at=cut(task.created_at), updated_at=cut(task.updated_at))


@value_fault()
class NothingBefore1970(Lossy):
    """Stores due dates as unsigned numbers of seconds since 1970."""

    def lossy(self, task: Task) -> Task:
        return altered(task, due_at=task.due_at and max(task.due_at, EPOCH))


@value_fault()
class NothingAfter2038(Lossy):
    """Stores due dates as numbers of seconds with 32 bits."""

    def lossy(self, task: Task) -> Task:
        return altered(task, due_at=task.due_at and min(task.due_at, LAST_32_BITS))


@value_fault()
class SecondsAsFloats(Lossy):
    """Stores due dates as floating-point seconds, which are not exact to the microsecond in distant years."""

    def lossy(self, task: Task) -> Task:
        if task.due_at is None:
            return task
        return altered(task, due_at=EPOCH + dt.timedelta(seconds=(task.due_at - EPOCH).total_seconds()))


@value_fault()
class ZonesLost(LossyOnRead):
    """Returns due dates without their zone, like SQLite."""

    def lossy(self, task: Task) -> Task:
        return altered(task, due_at=task.due_at and task.due_at.replace(tzinfo=None))


@value_fault()
class LocalTimes(LossyOnRead):
    """Returns times in the zone of the server, not in UTC."""

    def lossy(self, task: Task) -> Task:
        zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
        return altered(task, created_at=task.created_at.astimezone(zone), updated_at=task.updated_at.astimezone(zone))


@value_fault()
class StatusesAsText(LossyOnRead):
    """Returns the text of the status instead of the enum's member."""

    def lossy(self, task: Task) -> Task:
        return altered(task, status=task.status.value)


@value_fault()
class FlagsAsNumbers(LossyOnRead):
    """Returns 0 and 1 for false and true, as SQLite and MySQL do."""

    def lossy(self, task: Task) -> Task:
        return altered(task, is_completed=int(task.is_completed), completed=int(task.completed))


@value_fault()
class VersionsAsFloats(LossyOnRead):
    """Returns versions as floating-point numbers, as Lua and JavaScript have them."""

    def lossy(self, task: Task) -> Task:
        return altered(task, version=float(task.version))


@value_fault()
class RandomIDs(MemoryStore):
    """Makes random ids, which do not sort by age."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if task_id is not None or key is not None:
            return await super().create(owner, new, task_id=task_id, key=key)
        task = await super().create(owner, new)
        self.forget(owner, task.id)
        return self.keep(altered(task, id=uuid4()))
