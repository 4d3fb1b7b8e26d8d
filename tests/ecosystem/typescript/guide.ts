// Uses the modules of the guide, and prints what it saw as one line of JSON.
import { connect, ok, type Task, type TaskChanges, TaskdError } from "./lib/client";
import { create } from "./lib/create";
import { example } from "./lib/example";
import { getPage, type Query } from "./lib/pages";
import { watch } from "./lib/poll";
import { remove } from "./lib/remove";
import { keepToken } from "./lib/token";
import { update } from "./lib/update";

const [baseUrl, token, expired, userId] = process.argv.slice(2);
if (!baseUrl || !token || !expired || !userId) throw new Error("usage: guide URL TOKEN EXPIRED USER");

const network = globalThis.fetch;
let sent = 0;

/** Let the next requests meet with `faults`, each of which is given what would have sent the request. */
function disturb(...faults: ((send: () => Promise<Response>) => Promise<Response>)[]): void {
  globalThis.fetch = (input, init) => {
    sent += 1;
    const send = () => network(input, init);
    const fault = faults.shift();
    return fault ? fault(send) : send();
  };
}

/** Call `action`, and return how many requests it sent. */
async function counted(action: () => Promise<unknown>): Promise<number> {
  const before = sent;
  await action();
  return sent - before;
}

const titles = (tasks: Task[]) => tasks.map((task) => task.title);

const thrown = async (call: Promise<unknown>): Promise<TaskdError> => {
  const error = await call.catch((error: unknown) => error);
  if (!(error instanceof TaskdError)) throw new Error("There was no TaskdError.");
  return error;
};

disturb();
const shown = await example(baseUrl, token, userId);

// Tokens: the first one has expired.
const tokens = [expired, token];
let fetched = 0;
const getToken = keepToken(async () => {
  fetched += 1;
  return tokens.shift() ?? token;
});
const client = connect(baseUrl, getToken);
const all = { params: { path: { user_id: userId } } };
const list = () => ok(client.GET("/api/{user_id}/tasks", all));
const together = await counted(() => Promise.all([list(), list(), list()]));
const afterwards = await counted(list);
const nobody = await thrown(ok(connect(baseUrl, async () => expired).GET("/api/{user_id}/tasks", all)));

// Creating: the first response is lost, the second request finds the server busy.
const busy = async () =>
  new Response('{"detail": "Busy.", "code": "unavailable"}', { status: 503, headers: { "Retry-After": "0" } });
disturb(async (send) => {
  await send();
  throw new TypeError("fetch failed");
}, busy);
let milk = await create(client, userId, { title: "Milk", tags: ["shop"] });
const eggs = await create(client, userId, { title: "Eggs", tags: ["shop"], priority: "low" });
disturb(busy);
const gaveUp = await thrown(create(client, userId, { title: "Never" }, 1));
const untitled = await counted(() => thrown(create(client, userId, { title: " " })));

// Lists.
const open: Query = { tag: ["shop"], status: ["pending"], sort: "title", limit: 1, count: true };
const first = await getPage(client, userId, open);
if (!first.next) throw new Error("There is no second page.");
const second = await getPage(client, userId, first.next);

// Polling.
const poll = watch(client, userId, { tag: ["shop"] });
const polled = [(await poll())?.length, await poll()];

// Updates: another client changes the task meanwhile.
const states: string[] = [];
const show = (task: Task) => states.push(`${task.title} ${task.priority}`);
const elsewhere = async (body: TaskChanges): Promise<Task> => {
  const path = { user_id: userId, id: milk.id };
  return (await ok(client.PUT("/api/{user_id}/tasks/{id}", { params: { path }, body }))).data;
};
const plain = await update(client, milk, { title: "Oat milk" }, show);
milk = await elsewhere({});
await elsewhere({ priority: "high" });
const merged = await update(client, milk, { title: "Soy milk" }, show);
milk = await elsewhere({});
await elsewhere({ title: "Rice milk" });
const contested = await update(client, milk, { title: "Almond milk" }, show);
const failed = await thrown(update(client, eggs, { title: "" }, show));
const changes = titles((await poll()) ?? []);

// Undoing.
milk = await elsewhere({});
const undo = await remove(client, milk);
const left = titles((await getPage(client, userId, { tag: ["shop"] })).tasks);
const restored = await undo();
const isAsOld = Date.parse(restored.created_at) === Date.parse(milk.created_at);
await elsewhere({ priority: "urgent" });
const outdated = await thrown(remove(client, restored));

console.log(
  JSON.stringify({
    shown,
    tokens: [together, fetched, afterwards, nobody.status, nobody.code],
    created: [milk.version > 0, gaveUp.code, untitled],
    pages: [titles(first.tasks), first.total, titles(second.tasks), second.next ?? null],
    polled: [polled[0], polled[1] ?? null, changes],
    updated: [plain, merged, contested, failed.errors.map((error) => error.field)],
    states,
    undone: [left, restored.title, restored.id === milk.id, isAsOld, outdated.code],
  }),
);
