// Uses all endpoints by the types of the API document, and prints what it saw as one line of JSON.
import createClient from "openapi-fetch";
import { TaskdError, tasksOf } from "./lib/client.js";
import type { components, paths } from "./lib/taskd.js";

type Schemas = components["schemas"];

const [baseUrl, token, userId] = process.argv.slice(2);
if (!baseUrl || !token || !userId) throw new Error("usage: program URL TOKEN USER");

const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const params = { path: { user_id: userId } };

/** What is there if all went well; the error's one sentence is the message of what is thrown if not. */
function wanted<T>(answer: { data?: T; error?: Schemas["ErrorBody"] }): T {
  if (answer.error) throw new Error(answer.error.detail);
  if (answer.data === undefined) throw new Error("There is no body.");
  return answer.data;
}

const created = wanted(
  await client.POST("/api/{user_id}/tasks", {
    params,
    body: { title: "Water the plants", priority: "high", due_at: "2026-11-27T18:00:00+01:00", tags: ["home"] },
  }),
);
const dueAt: string | null = created.due_at;
const one = { path: { ...params.path, id: created.id } };

const got = wanted(await client.GET("/api/{user_id}/tasks/{id}", { params: one }));
const listed = wanted(await client.GET("/api/{user_id}/tasks", { params })).map((task) => task.title);
const changes: Schemas["TaskChanges"] = { status: "in_progress", due_at: null, tags: [...created.tags, "garden"] };
const changed = wanted(await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: changes }));
const toggled = wanted(await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: one }));
const reopened = wanted(
  await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: one, body: { completed: false } }),
);
const deleted = await client.DELETE("/api/{user_id}/tasks/{id}", { params: one });
const gone = await client.GET("/api/{user_id}/tasks/{id}", { params: one });

const refused = await client.POST("/api/{user_id}/tasks", { params, body: { title: " " } });
// Only 422 has `errors`: the types know it by asking for it.
const faults = refused.error && "errors" in refused.error ? refused.error.errors.map((error) => error.field) : [];

const live = wanted(await client.GET("/livez"));
const ready = wanted(await client.GET("/readyz"));

// The documentation's own client.
const tasks = tasksOf(userId, baseUrl, token);
const milk = await tasks.create({ title: "Milk", description: "Oat" });
const cleared = await tasks.update(milk.id, { description: null });
// Twice, as by a hand that is not sure.
await tasks.complete(milk.id);
const done = await tasks.complete(milk.id);
const left = await tasks.list();
const open = await tasks.complete(milk.id, false);
const read = await tasks.get(milk.id);
await tasks.delete(milk.id);
const missing = await tasks.delete(milk.id).catch((error: unknown) => error);
if (!(missing instanceof TaskdError)) throw new Error("A task was deleted twice.");
const nobody = await tasksOf(userId, baseUrl, "nonsense").list().catch((error: Error) => error.message);
const untitled = await tasks.create({ title: " " }).catch((error: unknown) => error);
if (!(untitled instanceof TaskdError)) throw new Error("A task without a title was created.");

console.log(
  JSON.stringify({
    created: [created.title, created.status, dueAt],
    isSame: JSON.stringify(created) === JSON.stringify(got),
    listed,
    changed: [changed.status, changed.due_at, changed.tags],
    toggled: [toggled.status, toggled.is_completed, toggled.completed_at !== null],
    reopened: [reopened.status, reopened.completed],
    deleted: [deleted.response.status, deleted.data ?? null],
    gone: [gone.response.status, gone.error?.code, gone.error?.detail],
    refused: [refused.response.status, faults],
    health: [live.status, ready.status],
    documented: [milk.description, cleared.description, done.status, left.length, left[0]?.title, open.status],
    isRead: JSON.stringify(open) === JSON.stringify(read),
    missing: [missing.status, missing.code, missing.message],
    nobody,
    untitled: [untitled.status, untitled.code, untitled.errors.map((error) => error.field)],
  }),
);
