"""A plugin for taskd: authentication by OAuth 2.0 token introspection (RFC 7662)."""
