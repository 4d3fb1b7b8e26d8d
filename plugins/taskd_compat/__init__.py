"""Routes: the dialects of frontends that were written for other servers."""
