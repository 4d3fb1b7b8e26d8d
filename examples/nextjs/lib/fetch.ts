import { getToken } from "./token";

export class Unreachable extends Error {
  override message = "The server cannot be reached.";
}

/** Send a request with a token.  If taskd says that the token has expired, send it once more, with a new one. */
export async function fetchWithToken(request: Request): Promise<Response> {
  try {
    const token = await getToken();
    // A request can be sent once: its body is gone then.
    const response = await fetch(authorised(request.clone(), token));
    return (await isExpired(response)) ? await fetch(authorised(request, await getToken(token))) : response;
  } catch (error) {
    // This is how fetch says that there was no response, in words that differ between browsers.
    throw error instanceof TypeError ? new Unreachable() : error;
  }
}

function authorised(request: Request, token: string): Request {
  request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}

async function isExpired(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const body = (await response.clone().json()) as { code?: string };
  return body.code === "expired_token";
}
