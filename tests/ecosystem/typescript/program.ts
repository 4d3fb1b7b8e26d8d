// Uses all endpoints by the types of openapi-typescript, and prints what it saw as one line of JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./lib/taskd";
import { nextCursor } from "./links";

type Schemas = components["schemas"];
type Query = NonNullable<paths["/api/{user_id}/tasks"]["get"]["parameters"]["query"]>;

const [baseUrl, token, userId] = process.argv.slice(2);
if (!baseUrl || !token || !userId) throw new Error("usage: program URL TOKEN USER");

const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const path = { user_id: userId };

/** Return the body of a response that is no error. */
function wanted<T>(result: { data?: T; error?: Schemas["ErrorBody"] }): T {
  if (result.error) throw new Error(result.error.detail);
  if (result.data === undefined) throw new Error("There is no body.");
  return result.data;
}

const live = wanted(await client.GET("/livez"));
const ready = wanted(await client.GET("/readyz"));

const body: Schemas["NewTask"] = {
  title: "Water the plants",
  priority: "high",
  due_at: "2026-11-27T18:00:00+01:00",
  tags: ["home", "garden"],
};
const once = { path, header: { "Idempotency-Key": "plants" } };
const creation = await client.POST("/api/{user_id}/tasks", { params: once, body });
const created = wanted(creation);
const dueAt: string | null = created.due_at;
const repeated = wanted(await client.POST("/api/{user_id}/tasks", { params: once, body }));
const reused = await client.POST("/api/{user_id}/tasks", { params: once, body: { title: "Another" } });
const contradiction: Schemas["NewTask"] = { title: "t", status: "pending", completed: true };
const refused = await client.POST("/api/{user_id}/tasks", { params: { path }, body: contradiction });
// Only some errors have `errors`: the types know it by asking for it.
const faults = refused.error && "errors" in refused.error ? refused.error.errors : [];
for (const other of [{ title: "Buy milk", tags: ["home"] }, { title: "Call", tags: ["work"] }]) {
  wanted(await client.POST("/api/{user_id}/tasks", { params: { path }, body: other }));
}

const query: Query = { status: ["pending", "in_progress"], tag: ["home"], sort: "title", limit: 1, count: true };
const page = await client.GET("/api/{user_id}/tasks", { params: { path, query } });
const cursor = nextCursor(page.response.headers);
if (cursor === undefined) throw new Error("There is no second page.");
const last = await client.GET("/api/{user_id}/tasks", { params: { path, query: { ...query, cursor } } });
const listTag = page.response.headers.get("ETag") ?? "";
const sameList = await client.GET("/api/{user_id}/tasks", { params: { path, header: { "If-None-Match": listTag } } });

const one = { user_id: userId, id: created.id };
const tag = creation.response.headers.get("ETag") ?? "";
const same = await client.GET("/api/{user_id}/tasks/{id}", { params: { path: one, header: { "If-None-Match": tag } } });
const changes: Schemas["TaskChanges"] = { status: "in_progress", due_at: null, tags: [...created.tags, "urgent"] };
const matching = { path: one, header: { "If-Match": tag } };
const changed = wanted(await client.PUT("/api/{user_id}/tasks/{id}", { params: matching, body: changes }));
const stale = await client.PUT("/api/{user_id}/tasks/{id}", { params: matching, body: changes });
const toggled = wanted(await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: { path: one } }));
const reopened = wanted(
  await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: { path: one }, body: { completed: false } }),
);

const deleted = await client.DELETE("/api/{user_id}/tasks/{id}", { params: { path: one } });
const gone = await client.GET("/api/{user_id}/tasks/{id}", { params: { path: one } });
const creating = { path: one, header: { "If-None-Match": "*" } };
const restoration = await client.PUT("/api/{user_id}/tasks/{id}", { params: creating, body: reopened });
const restored = wanted(restoration);
const existing = await client.PUT("/api/{user_id}/tasks/{id}", { params: creating, body: reopened });

console.log(
  JSON.stringify({
    health: [live.status, ready.status],
    created: [created.title, created.status, dueAt, created.tags],
    repeated: [repeated.id === created.id, reused.response.status, reused.error?.code],
    refused: [refused.response.status, refused.error?.code, faults?.map((error) => error.field)],
    listed: [wanted(page).map((task) => task.title), page.response.headers.get("X-Total-Count")],
    next: [wanted(last).map((task) => task.title), last.response.headers.get("Link")],
    unchanged: [sameList.response.status, same.response.status],
    changed: [changed.status, changed.due_at, changed.tags, changed.version > created.version],
    stale: [stale.response.status, stale.error?.code],
    toggled: [toggled.status, toggled.is_completed, toggled.completed_at !== null, reopened.status],
    deleted: [deleted.response.status, gone.response.status, gone.error?.detail],
    restored: [restoration.response.status, restored.id === created.id, restored.tags, existing.response.status],
  }),
);
