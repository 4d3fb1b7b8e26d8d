"""Broken servers, in modules by section of the contract."""

# Importing a module registers its faults.
from tests.conformance.broken import SERVERS
from tests.conformance.faults import access, endpoints, forms, lists, once, tags, tasks

__all__ = ["SERVERS", "access", "endpoints", "forms", "lists", "once", "tags", "tasks"]
