"""Plugins for taskd, as a team might write them."""
