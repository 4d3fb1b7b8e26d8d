"""A plugin for taskd: tasks in Redis."""
