"""Todo-Backend's API for taskd."""
