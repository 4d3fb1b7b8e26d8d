"""Auth plugin: JSON Web Tokens, signed with a shared secret or with keys that Better Auth publishes."""
