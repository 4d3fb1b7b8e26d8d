"""Traces for OpenTelemetry: spans for requests and for calls of the store."""
