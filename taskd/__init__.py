"""taskd: a self-hosted task-management REST server whose parts are plugins.  This is all that a plugin may import."""

from taskd.addresses import HTTPAddress, is_loopback
from taskd.app import build_app
from taskd.auth import AuthUnavailable, InvalidCredentials, MissingCredentials, TokenIssuer, User
from taskd.availability import Availability
from taskd.conversion import Fault, InvalidBody, structure
from taskd.diagnosis import Check, Diagnosable, Outcome
from taskd.hooks import hookimpl
from taskd.http import ErrorBody, JSONAnswer, read_json, url_prefix
from taskd.model import (
    CONSISTENT,
    UNSET,
    Completion,
    NewTask,
    Priority,
    Status,
    Task,
    TaskChanges,
    TaskID,
    UnsetType,
    Wanted,
)
from taskd.operations import Answer, Body, operation
from taskd.plugins import PluginError
from taskd.routing import public
from taskd.settings import Secret, SettingsError, load_settings, one_of
from taskd.storage import Migratable, StoreError, StoreUnavailable, TaskNotFound, TaskStore

__all__ = [
    "CONSISTENT",
    "UNSET",
    "Answer",
    "AuthUnavailable",
    "Availability",
    "Body",
    "Check",
    "Completion",
    "Diagnosable",
    "ErrorBody",
    "Fault",
    "HTTPAddress",
    "InvalidBody",
    "InvalidCredentials",
    "JSONAnswer",
    "Migratable",
    "MissingCredentials",
    "NewTask",
    "Outcome",
    "PluginError",
    "Priority",
    "Secret",
    "SettingsError",
    "Status",
    "StoreError",
    "StoreUnavailable",
    "Task",
    "TaskChanges",
    "TaskID",
    "TaskNotFound",
    "TaskStore",
    "TokenIssuer",
    "UnsetType",
    "User",
    "Wanted",
    "build_app",
    "hookimpl",
    "is_loopback",
    "load_settings",
    "one_of",
    "operation",
    "public",
    "read_json",
    "structure",
    "url_prefix",
]
