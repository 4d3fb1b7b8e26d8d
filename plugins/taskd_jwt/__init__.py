"""Auth: JSON Web Tokens, signed with a secret that the frontend shares or with keys that Better Auth publishes."""
