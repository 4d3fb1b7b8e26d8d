// The API of taskd, with the types that `npm run generate` makes from its OpenAPI document.
import createClient from "openapi-fetch";
import { fetchWithToken } from "./fetch";
import type { components, paths } from "./taskd.d";

type Schemas = components["schemas"];
export type Task = Schemas["Task"];
export type NewTask = Schemas["NewTask"];
export type TaskChanges = Schemas["TaskChanges"];
export type Status = Schemas["Status"];
export type Priority = Schemas["Priority"];
export type FieldError = Schemas["FieldError"];
export type TaskQuery = NonNullable<paths["/api/{user_id}/tasks"]["get"]["parameters"]["query"]>;

/** Some of the tasks, how many there are on all pages, and the cursor of the next page, if there is one. */
export type TaskPage = { tasks: Task[]; total: number; next?: string };

type ErrorBody = { detail: string; code: Schemas["ErrorCode"]; errors?: FieldError[] };

export class TaskdError extends Error {
  readonly status: number;
  /** Why; undefined if something between the browser and taskd responded. */
  readonly code?: ErrorBody["code"];
  readonly errors: FieldError[];
  /** After how many seconds to try again. */
  readonly retryAfter?: number;

  constructor(response: Response, body?: ErrorBody) {
    super(body?.detail ?? `The server responded with ${response.status}.`);
    this.status = response.status;
    this.code = body?.code;
    this.errors = body?.errors ?? [];
    this.retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  }
}

type Result<T> = { data?: T; error?: ErrorBody; response: Response };

/** Wait for a response, and throw it if it is an error. */
async function succeed<T>(call: Promise<Result<T>>): Promise<{ data: T; response: Response }> {
  const { data, error, response } = await call;
  if (!response.ok) throw new TaskdError(response, error);
  return { data: data as T, response };
}

async function dataOf<T>(call: Promise<Result<T>>): Promise<T> {
  return (await succeed(call)).data;
}

/** Return the cursor in a `Link` header such as `</api/USER/tasks?cursor=…>; rel="next"`. */
function nextCursor(response: Response): string | undefined {
  const [, reference] = /<([^>]*)>; *rel="next"/.exec(response.headers.get("Link") ?? "") ?? [];
  if (reference === undefined) return undefined;
  return new URL(reference, response.url).searchParams.get("cursor") ?? undefined;
}

/** The value of `If-Match` that lets a write succeed only if nobody has changed *task* meanwhile. */
const unchanged = (task: Pick<Task, "version">) => ({ "If-Match": `"${task.version}"` });

export type Tasks = ReturnType<typeof tasksOf>;

/** Every method may be called again after a failure, even if the failed call has reached the database. */
export function tasksOf(userId: string, baseUrl: string) {
  const client = createClient<paths>({ baseUrl, fetch: fetchWithToken });
  const path = (id: string) => ({ user_id: userId, id });

  return {
    async list(query: TaskQuery, signal: AbortSignal): Promise<TaskPage> {
      const params = { path: { user_id: userId }, query: { ...query, count: true } };
      const { data, response } = await succeed(client.GET("/api/{user_id}/tasks", { params, signal }));
      return { tasks: data, total: Number(response.headers.get("X-Total-Count")), next: nextCursor(response) };
    },

    get(id: string, signal?: AbortSignal): Promise<Task> {
      const params = { path: path(id) };
      return dataOf(client.GET("/api/{user_id}/tasks/{id}", { params, signal }));
    },

    /** Create a task; with the same key and the same body, only the first call does. */
    create(body: NewTask, key: string): Promise<Task> {
      const params = { path: { user_id: userId }, header: { "Idempotency-Key": key } };
      return dataOf(client.POST("/api/{user_id}/tasks", { params, body }));
    },

    /** Change *task*, unless somebody else has changed it meanwhile. */
    async update(task: Pick<Task, "id" | "version">, body: TaskChanges): Promise<Task> {
      const params = { path: path(task.id), header: unchanged(task) };
      return dataOf(client.PUT("/api/{user_id}/tasks/{id}", { params, body }));
    },

    /** Set the flag, whatever it was: a request that toggles it would, sent twice, undo itself. */
    complete(id: string, completed: boolean): Promise<Task> {
      const params = { path: path(id) };
      return dataOf(client.PATCH("/api/{user_id}/tasks/{id}/complete", { params, body: { completed } }));
    },

    /** Delete *task*, unless somebody else has changed it meanwhile.  One that is gone already is as good as deleted. */
    async delete(task: Task): Promise<void> {
      const params = { path: path(task.id), header: unchanged(task) };
      await dataOf(client.DELETE("/api/{user_id}/tasks/{id}", { params })).catch(unless(404));
    },

    /** Create a deleted task again, under the id that it had, unless that has been done already. */
    async restore(id: string, body: NewTask): Promise<void> {
      const params = { path: path(id), header: { "If-None-Match": "*" } };
      await dataOf(client.PUT("/api/{user_id}/tasks/{id}", { params, body })).catch(unless(412));
    },
  };
}

/** Return a function that throws every error but those with *status*. */
function unless(status: number) {
  return (error: unknown) => {
    if (!(error instanceof TaskdError && error.status === status)) throw error;
  };
}
