"""The plugin `compat`."""

PLUGINS = "compat,docs,jwt,sql,tasks"
ALL = "delete_body,due_date,enums,envelopes,parameters,patch,toggle"
