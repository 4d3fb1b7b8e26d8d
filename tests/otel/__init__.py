"""The plugin `otel`."""
