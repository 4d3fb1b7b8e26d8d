"""A plugin for taskd: authentication by any one of several plugins."""
