"""Serve the API document, a page for reading it and trying it out, and a home page with links to both."""
