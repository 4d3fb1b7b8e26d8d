"""Routes: the API document, a page to read and try it, and what `/` says."""
