"""The plugin `mcp`."""

PLUGINS = "docs,jwt,mcp,sql,tasks"
# The public URL of the endpoint.
URL = "https://tasks.example.com/mcp"
