import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";

export const authClient = createAuthClient({ plugins: [jwtClient()] });

/**
 * Load the page at *path* anew after the user has changed.
 *
 * Unlike a client-side navigation, this forgets the token and the tasks of whoever was signed in before.
 */
export function startAfresh(path: "/" | "/sign-in") {
  location.assign(path);
}
