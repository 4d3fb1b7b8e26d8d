// Fastify + fast-jwt with its cache of verified tokens + pg with a pool of ten and named prepared statements.

import { createVerifier } from "fast-jwt";
import Fastify from "fastify";
import pg from "pg";
import { v7 } from "uuid";

const COLUMNS = `id, user_id, title, description, status, priority, due_at, tags, status = 'completed' AS is_completed,
  status = 'completed' AS completed, created_at, updated_at, completed_at, version`;
const OWN = "WHERE user_id = $1 AND id = $2";
const SQL = {
  get: `SELECT ${COLUMNS} FROM tasks ${OWN}`,
  create: `INSERT INTO tasks (user_id, id, title, description, status, priority, due_at, tags, created_at, updated_at,
      completed_at, version)
    VALUES ($1, $2, $3, $4, $5::text, $6, $7, $8, now(), now(), CASE WHEN $5::text = 'completed' THEN now() END, 1)
    RETURNING ${COLUMNS}`,
  toggle: `UPDATE tasks SET status = CASE WHEN status = 'completed' THEN 'pending' ELSE 'completed' END,
      completed_at = CASE WHEN status = 'completed' THEN NULL ELSE now() END, updated_at = now(), version = version + 1
    ${OWN} RETURNING ${COLUMNS}`,
  remove: `DELETE FROM tasks ${OWN}`,
};

const time = { type: "string", format: "date-time" };
const status = { type: "string", enum: ["pending", "in_progress", "completed"] };
const priority = { type: "string", enum: ["low", "medium", "high", "urgent"] };
const writable = {
  title: { type: "string", minLength: 1, maxLength: 200 },
  description: { type: "string", maxLength: 10000, nullable: true },
  status,
  priority,
  due_at: { ...time, nullable: true },
  tags: { type: "array", maxItems: 20, items: { type: "string", minLength: 1, maxLength: 50 } },
};
const task = {
  type: "object",
  properties: {
    id: { type: "string" },
    user_id: { type: "string" },
    title: { type: "string" },
    description: { type: "string", nullable: true },
    status: { type: "string" },
    priority: { type: "string" },
    due_at: { ...time, nullable: true },
    tags: { type: "array", items: { type: "string" } },
    is_completed: { type: "boolean" },
    completed: { type: "boolean" },
    created_at: time,
    updated_at: time,
    completed_at: { ...time, nullable: true },
    version: { type: "integer" },
  },
};
const owned = { type: "object", properties: { user_id: { type: "string" } } };
const one = { type: "object", properties: { user_id: { type: "string" }, task_id: { type: "string", format: "uuid" } } };
const query = { type: "object", additionalProperties: false, properties: { status, priority, limit: { type: "integer", minimum: 1, maximum: 1000 } } };

// Through a PgBouncer that has no prepared statements, statements must not have names.
const isNamed = process.env.STATEMENTS !== "unnamed";
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const run = (name, text, values) => pool.query(isNamed ? { name, text, values } : { text, values });

const verify = createVerifier({ key: process.env.JWT_SECRET, algorithms: ["HS256"], cache: 10000 });
const app = Fastify({ logger: false });

app.addHook("onRequest", async (request, reply) => {
  const credentials = request.headers.authorization ?? "";
  let claims;
  try {
    claims = verify(credentials.slice(7));
  } catch {
    return reply.code(401).send({ detail: "Not authenticated" });
  }
  if (claims.sub !== request.params.user_id) return reply.code(401).send({ detail: "Another user's path" });
});

const found = (reply, { rows }) => rows[0] ?? reply.code(404).send({ detail: "Not found" });

app.get("/api/:user_id/tasks", {
  schema: { params: owned, querystring: query, response: { 200: { type: "array", items: task } } },
}, async (request) => {
  const values = [request.params.user_id];
  let text = `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1`;
  for (const name of ["status", "priority"]) {
    if (request.query[name] !== undefined) text += ` AND ${name} = $${values.push(request.query[name])}`;
  }
  text += " ORDER BY id DESC";
  if (request.query.limit !== undefined) text += ` LIMIT $${values.push(request.query.limit)}`;
  return (await run(`list ${Object.keys(request.query)}`, text, values)).rows;
});

app.post("/api/:user_id/tasks", {
  schema: { params: owned, body: { type: "object", required: ["title"], properties: writable }, response: { 201: task } },
}, async (request, reply) => {
  const { title, description = null, status = "pending", priority = "medium", due_at = null, tags = [] } = request.body;
  const values = [request.params.user_id, v7(), title, description, status, priority, due_at, tags];
  const { rows } = await run("create", SQL.create, values);
  return reply.code(201).send(rows[0]);
});

app.get("/api/:user_id/tasks/:task_id", {
  schema: { params: one, response: { 200: task } },
}, async ({ params }, reply) => found(reply, await run("get", SQL.get, [params.user_id, params.task_id])));

// Fastify drops what `additionalProperties: false` excludes, so that only known names get into the statement.
app.put("/api/:user_id/tasks/:task_id", {
  schema: { params: one, body: { type: "object", additionalProperties: false, properties: writable }, response: { 200: task } },
}, async ({ params, body }, reply) => {
  const values = [params.user_id, params.task_id];
  const changes = ["updated_at = now()", "version = version + 1"];
  for (const name of Object.keys(body)) changes.push(`${name} = $${values.push(body[name])}`);
  if (body.status !== undefined) {
    const completed = `$${values.push(body.status === "completed")}::boolean`;
    changes.push(`completed_at = CASE WHEN ${completed} THEN coalesce(completed_at, now()) END`);
  }
  const text = `UPDATE tasks SET ${changes.join(", ")} ${OWN} RETURNING ${COLUMNS}`;
  return found(reply, await run(`put ${Object.keys(body)}`, text, values));
});

app.patch("/api/:user_id/tasks/:task_id/complete", {
  schema: { params: one, response: { 200: task } },
}, async ({ params }, reply) => found(reply, await run("toggle", SQL.toggle, [params.user_id, params.task_id])));

app.delete("/api/:user_id/tasks/:task_id", {
  schema: { params: one },
}, async ({ params }, reply) => {
  const { rowCount } = await run("remove", SQL.remove, [params.user_id, params.task_id]);
  return rowCount ? reply.code(204).send() : reply.code(404).send({ detail: "Not found" });
});

await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
