"""Queries that each break one promise about searching."""

from __future__ import annotations

import re
import unicodedata

import attrs

from taskd.queries import TaskQuery
from taskd.tasks import Task

__all__ = ["BROKEN_SEARCHES"]


class SearchInLowerCase(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        texts = (task.title.lower(), (task.description or "").lower())
        return self.search is None or any(self.search.lower() in text for text in texts)


class SearchInThisCase(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        return self.search is None or any(self.search in text for text in (task.title, task.description or ""))


class SearchInASCII(TaskQuery):
    """Ignores case only in ASCII, as SQLite's LIKE does, and MySQL's in some collations."""

    def _is_found(self, task: Task) -> bool:
        return self.search is None or bool(
            re.search(re.escape(self.search), f"{task.title}\0{task.description or ''}", re.ASCII | re.IGNORECASE)
        )


class SearchWithWildcards(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        if self.search is None:
            return True
        pattern = re.escape(self.search.casefold()).replace("%", ".*").replace("_", ".")
        texts = (task.title.casefold(), (task.description or "").casefold())
        return any(re.search(pattern, text, re.DOTALL) for text in texts)


class SearchWithEscapes(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        search = self.search and re.sub(r"\\(.?)", r"\1", self.search)
        return super(SearchWithEscapes, attrs.evolve(self, search=search))._is_found(task)


class SearchNormalized(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        def normal(text: str) -> str:
            return unicodedata.normalize("NFC", text).casefold()

        return self.search is None or any(
            normal(self.search) in normal(text) for text in (task.title, task.description or "")
        )


class SearchStripped(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        search = self.search and self.search.strip()
        return super(SearchStripped, attrs.evolve(self, search=search))._is_found(task)


class SearchForWords(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        words = f"{task.title} {task.description or ''}".casefold().split()
        return super()._is_found(task) and (not self.search or any(self.search.casefold() in word for word in words))


class SearchInTitles(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        return self.search is None or self.search.casefold() in task.title.casefold()


class SearchInTags(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        return super()._is_found(task) or any((self.search or "").casefold() in tag.casefold() for tag in task.tags)


class SearchAcrossTexts(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        return not self.search or self.search.casefold() in (task.title + (task.description or "")).casefold()


class SearchInTheBeginning(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        texts = (task.title, (task.description or "")[:1000])
        return self.search is None or any(self.search.casefold() in text.casefold() for text in texts)


BROKEN_SEARCHES = [each for each in TaskQuery.__subclasses__() if each.__module__ == __name__]
