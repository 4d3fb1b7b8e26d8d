"""Routes: the six endpoints for tasks."""
