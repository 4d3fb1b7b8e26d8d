// Uses all endpoints with the functions that hey-api generates, and prints what it saw as one line of JSON.
import { client } from "./lib/hey-api/client.gen";
import {
  checkLiveness,
  checkReadiness,
  completeTask,
  createTask,
  deleteTask,
  getTask,
  listTasks,
  updateTask,
} from "./lib/hey-api/sdk.gen";
import type { ListTasksData, NewTask, TaskChanges } from "./lib/hey-api/types.gen";
import { zNewTask, zTask } from "./lib/hey-api/zod.gen";
import { nextCursor } from "./links";

const [baseUrl, token, userId] = process.argv.slice(2);
if (!baseUrl || !token || !userId) throw new Error("usage: program URL TOKEN USER");

client.setConfig({ baseUrl, auth: token });
const path = { user_id: userId };

/** Return the body of a response that is no error. */
function wanted<T>(result: { data?: T; error?: unknown }): T {
  if (result.data === undefined) throw new Error(JSON.stringify(result.error));
  return result.data;
}

const live = wanted(await checkLiveness());
const ready = wanted(await checkReadiness());

const body: NewTask = zNewTask.parse({
  title: "Water the plants",
  priority: "high",
  due_at: "2026-11-27T18:00:00+01:00",
  tags: ["home", "garden"],
});
const headers = { "Idempotency-Key": "plants" };
const creation = await createTask({ path, headers, body });
const created = zTask.parse(wanted(creation));
const dueAt: string | null = created.due_at;
const repeated = wanted(await createTask({ path, headers, body }));
const reused = await createTask({ path, headers, body: { title: "Another" } });
const refused = await createTask({ path, body: { title: "t", status: "pending", completed: true } });
const faults = refused.error && "errors" in refused.error ? refused.error.errors : [];
for (const other of [{ title: "Buy milk", tags: ["home"] }, { title: "Call", tags: ["work"] }]) {
  wanted(await createTask({ path, body: other }));
}

const query: ListTasksData["query"] = {
  status: ["pending", "in_progress"],
  tag: ["home"],
  sort: "title",
  limit: 1,
  count: true,
};
const page = await listTasks({ path, query });
const cursor = nextCursor(page.response?.headers ?? new Headers());
if (cursor === undefined) throw new Error("There is no second page.");
const last = await listTasks({ path, query: { ...query, cursor } });
const listTag = page.response?.headers.get("ETag") ?? "";
const sameList = await listTasks({ path, headers: { "If-None-Match": listTag } });

const one = { user_id: userId, id: created.id };
const tag = creation.response?.headers.get("ETag") ?? "";
const same = await getTask({ path: one, headers: { "If-None-Match": tag } });
const changes: TaskChanges = { status: "in_progress", due_at: null, tags: [...created.tags, "urgent"] };
const changed = wanted(await updateTask({ path: one, headers: { "If-Match": tag }, body: changes }));
const stale = await updateTask({ path: one, headers: { "If-Match": tag }, body: changes });
const toggled = wanted(await completeTask({ path: one }));
const reopened = wanted(await completeTask({ path: one, body: { completed: false } }));

const deleted = await deleteTask({ path: one });
const gone = await getTask({ path: one });
const restoration = await updateTask({ path: one, headers: { "If-None-Match": "*" }, body: reopened });
const restored = wanted(restoration);
const existing = await updateTask({ path: one, headers: { "If-None-Match": "*" }, body: reopened });

console.log(
  JSON.stringify({
    health: [live.status, ready.status],
    created: [created.title, created.status, dueAt, created.tags],
    repeated: [repeated.id === created.id, reused.response?.status, reused.error?.code],
    refused: [refused.response?.status, refused.error?.code, faults?.map((error) => error.field)],
    listed: [wanted(page).map((task) => task.title), page.response?.headers.get("X-Total-Count")],
    next: [wanted(last).map((task) => task.title), last.response?.headers.get("Link")],
    unchanged: [sameList.response?.status, same.response?.status],
    changed: [changed.status, changed.due_at, changed.tags, changed.version > created.version],
    stale: [stale.response?.status, stale.error?.code],
    toggled: [toggled.status, toggled.is_completed, toggled.completed_at !== null, reopened.status],
    deleted: [deleted.response?.status, gone.response?.status, gone.error?.detail],
    restored: [restoration.response?.status, restored.id === created.id, restored.tags, existing.response?.status],
  }),
);
