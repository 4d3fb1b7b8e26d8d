// Users, sessions and keys in memory: nothing to install, and gone when the server stops.  See README.md for a real database.
import { memoryAdapter } from "better-auth/adapters/memory";

type Tables = Record<"user" | "session" | "account" | "verification" | "jwks", Record<string, unknown>[]>;

// Next.js may load this module more than once, but each time into the same process.
const process = globalThis as typeof globalThis & { authTables?: Tables };
process.authTables ??= { user: [], session: [], account: [], verification: [], jwks: [] };

export const database = memoryAdapter(process.authTables);
