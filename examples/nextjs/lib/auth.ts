// Better Auth's server.  It signs the tokens with which the browser calls taskd, and publishes the keys to verify them.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { database } from "./auth-database";

export const auth = betterAuth({
  database,
  emailAndPassword: { enabled: true },
  plugins: [jwt()],
});
