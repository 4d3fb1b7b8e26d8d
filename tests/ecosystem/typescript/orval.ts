// Uses all endpoints with the functions that orval generates, and prints what it saw as one line of JSON.
import {
  checkLiveness,
  checkReadiness,
  completeTask,
  createTask,
  deleteTask,
  getTask,
  type ListTasksParams,
  listTasks,
  type NewTask,
  type TaskChanges,
  updateTask,
} from "./lib/orval/taskd";
import { nextCursor } from "./links";

const [baseUrl, token, userId] = process.argv.slice(2);
if (!baseUrl || !token || !userId) throw new Error("usage: program URL TOKEN USER");

// The functions call the origin of their page.
const { fetch } = globalThis;
globalThis.fetch = (url, init) => fetch(new URL(String(url), baseUrl), init);
const options = { headers: { Authorization: `Bearer ${token}` } };

/** Check the status of a response, which tells what its body is. */
function expect<R extends { status: number }, S extends R["status"]>(result: R, status: S): Extract<R, { status: S }> {
  if (result.status !== status) throw new Error(JSON.stringify(result));
  return result as Extract<R, { status: S }>;
}

const live = expect(await checkLiveness(), 200).data;
const ready = expect(await checkReadiness(), 200).data;

const body: NewTask = {
  title: "Water the plants",
  priority: "high",
  due_at: "2026-11-27T18:00:00+01:00",
  tags: ["home", "garden"],
};
const once = { "Idempotency-Key": "plants" };
const creation = expect(await createTask(userId, body, once, options), 201);
const created = creation.data;
const dueAt: string | null = created.due_at;
const repeated = expect(await createTask(userId, body, once, options), 201).data;
const reused = expect(await createTask(userId, { title: "Another" }, once, options), 422);
const contradiction: NewTask = { title: "t", status: "pending", completed: true };
const refused = expect(await createTask(userId, contradiction, {}, options), 422);
for (const other of [{ title: "Buy milk", tags: ["home"] }, { title: "Call", tags: ["work"] }]) {
  expect(await createTask(userId, other, {}, options), 201);
}

const query: ListTasksParams = {
  status: ["pending", "in_progress"],
  tag: ["home"],
  sort: "title",
  limit: 1,
  count: true,
};
const page = expect(await listTasks(userId, query, {}, options), 200);
const cursor = nextCursor(page.headers);
if (cursor === undefined) throw new Error("There is no second page.");
const last = expect(await listTasks(userId, { ...query, cursor }, {}, options), 200);
const listTag = page.headers.get("ETag") ?? "";
const sameList = await listTasks(userId, {}, { "If-None-Match": listTag }, options);

const { id } = created;
const tag = creation.headers.get("ETag") ?? "";
const same = await getTask(userId, id, { "If-None-Match": tag }, options);
const changes: TaskChanges = { status: "in_progress", due_at: null, tags: [...created.tags, "urgent"] };
const changed = expect(await updateTask(userId, id, changes, { "If-Match": tag }, options), 200).data;
const stale = expect(await updateTask(userId, id, changes, { "If-Match": tag }, options), 412);
const toggled = expect(await completeTask(userId, id, undefined, {}, options), 200).data;
const reopened = expect(await completeTask(userId, id, { completed: false }, {}, options), 200).data;

const deleted = await deleteTask(userId, id, {}, options);
const gone = expect(await getTask(userId, id, {}, options), 404);
const restored = expect(await updateTask(userId, id, reopened, { "If-None-Match": "*" }, options), 201);
const existing = await updateTask(userId, id, reopened, { "If-None-Match": "*" }, options);

console.log(
  JSON.stringify({
    health: [live.status, ready.status],
    created: [created.title, created.status, dueAt, created.tags],
    repeated: [repeated.id === id, reused.status, reused.data.code],
    refused: [refused.status, refused.data.code, refused.data.errors?.map((error) => error.field)],
    listed: [page.data.map((task) => task.title), page.headers.get("X-Total-Count")],
    next: [last.data.map((task) => task.title), last.headers.get("Link")],
    unchanged: [sameList.status, same.status],
    changed: [changed.status, changed.due_at, changed.tags, changed.version > created.version],
    stale: [stale.status, stale.data.code],
    toggled: [toggled.status, toggled.is_completed, toggled.completed_at !== null, reopened.status],
    deleted: [deleted.status, gone.status, gone.data.detail],
    restored: [restored.status, restored.data.id === id, restored.data.tags, existing.status],
  }),
);
