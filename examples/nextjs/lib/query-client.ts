// How the cache of TanStack Query behaves: when it asks again, what it retries, and what happens without a session.
import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { startAfresh } from "./auth-client";
import { Unreachable } from "./fetch";
import { TaskdError } from "./taskd";
import { SignedOut } from "./token";

const POLL_MS = 10_000;
const RETRIES = 4;

/** Whether a request that failed like this may succeed later: the server is busy, or could not be reached. */
export function isTemporary(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof TaskdError && error.status === 503);
}

const retry = (failures: number, error: unknown) => failures < RETRIES && isTemporary(error);

function retryDelay(failures: number, error: unknown): number {
  const seconds = error instanceof TaskdError ? error.retryAfter : undefined;
  return 1000 * (seconds ?? 2 ** failures);
}

/** Without a session, or with that of another user, who signed in in another tab, this page is of no use. */
function onError(error: unknown) {
  if (error instanceof SignedOut) startAfresh("/sign-in");
  if (error instanceof TaskdError && error.code === "wrong_user") startAfresh("/");
}

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      // Besides, tasks are requested again when somebody comes back to the tab.  As long as nothing has changed, each
      // of these requests costs a 304: the browser keeps the last response, and sends its ETag.
      queries: { refetchInterval: POLL_MS, retry, retryDelay },
      // Safe, because no write has another effect when it is sent again.
      mutations: { retry, retryDelay },
    },
  });
}
