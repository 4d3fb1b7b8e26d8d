// What docs/guides/better-auth.md imports as "./database": tables in memory, which server.mjs can save and load.
import { memoryAdapter } from "better-auth/adapters/memory";

export const tables = { user: [], session: [], account: [], verification: [], jwks: [] };
export const database = memoryAdapter(tables);
