"""Serve the API document, a page to read and try it, and a home page with links to both."""
