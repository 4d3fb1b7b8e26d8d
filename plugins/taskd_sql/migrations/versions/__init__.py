"""One file for each revision.  What was released once is never changed: the next revision changes it."""
