"""taskd: a self-hosted task-management REST server whose parts are plugins.  This is all that a plugin may import."""

from taskd.addresses import HTTPAddress, is_loopback
from taskd.app import build_app
from taskd.auth import AuthUnavailable, InvalidCredentials, MissingCredentials, TokenIssuer, User
from taskd.availability import Availability
from taskd.conversion import Fault, InvalidBody, structure
from taskd.diagnosis import Check, Diagnosable, Outcome
from taskd.hooks import hookimpl
from taskd.http import JSONAnswer, read_json
from taskd.model import UNSET, Completion, NewTask, Priority, Status, Task, TaskChanges, UnsetType
from taskd.plugins import PluginError
from taskd.routing import public
from taskd.settings import Secret, SettingsError, load_settings, one_of
from taskd.storage import Migratable, StoreError, StoreUnavailable, TaskNotFound, TaskStore

__all__ = [
    "UNSET",
    "AuthUnavailable",
    "Availability",
    "Check",
    "Completion",
    "Diagnosable",
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
    "TaskNotFound",
    "TaskStore",
    "TokenIssuer",
    "UnsetType",
    "User",
    "build_app",
    "hookimpl",
    "is_loopback",
    "load_settings",
    "one_of",
    "public",
    "read_json",
    "structure",
]
