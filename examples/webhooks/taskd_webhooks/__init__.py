"""Webhooks for taskd, as Standard Webhooks defines them."""
