"""The revisions.  Never edit a released one: add another that changes the schema further."""
