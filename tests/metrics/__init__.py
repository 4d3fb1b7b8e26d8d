"""The plugin `metrics`."""

PLUGINS = "docs,jwt,metrics,sql,tasks"
TOKEN = "a-token-for-the-metrics"
