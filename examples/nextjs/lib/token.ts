// The token for taskd, in the browser only, and only in memory: there, no other page can read it.
import { authClient } from "./auth-client";

let token: string | undefined;
let request: Promise<string> | undefined;

/** Return a token: the last one, or a new one if there is none yet or if the last one is *expired*. */
export async function getToken(expired?: string): Promise<string> {
  if (token !== undefined && token !== expired) return token;
  // However many requests need a new token at the same time, it is requested once.
  request ??= requestToken().finally(() => (request = undefined));
  return request;
}

export class SignedOut extends Error {}

async function requestToken(): Promise<string> {
  const { data, error } = await authClient.token();
  if (error?.status === 401) throw new SignedOut("You are signed out.");
  if (error) throw new Error(error.message ?? "No token could be requested.");
  token = data.token;
  return token;
}
