"""A plugin for taskd: limits how many requests users and addresses may send."""
