// Every statement here is wrong, and must not pass: an expectation of an error that does not come is an error itself.
import createClient from "openapi-fetch";
import type { components, paths } from "./lib/taskd";

type Schemas = components["schemas"];

const client = createClient<paths>({ baseUrl: "http://127.0.0.1" });
const params = { path: { user_id: "alice" } };
// @ts-expect-error: there is no such field
export const changes: Schemas["TaskChanges"] = { done: true };
const one = { path: { user_id: "alice", id: "019ab7d4-5c00-7b2a-9d3e-4f5061728394" } };

export async function mistakes(task: Schemas["Task"]): Promise<void> {
  // @ts-expect-error: a task needs a title
  await client.POST("/api/{user_id}/tasks", { params, body: { priority: "low" } });
  // @ts-expect-error: a task needs a body
  await client.POST("/api/{user_id}/tasks", { params });
  // @ts-expect-error: a title is a text
  await client.POST("/api/{user_id}/tasks", { params, body: { title: 5 } });
  // @ts-expect-error: a title cannot be cleared
  await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: { title: null } });
  // @ts-expect-error: there is no such status
  await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: { status: "done" } });
  // @ts-expect-error: there is no such priority
  await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: { priority: "HIGH" } });
  // @ts-expect-error: what is left out is not sent as undefined
  await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: { description: undefined } });
  // @ts-expect-error: several statuses are an array
  await client.GET("/api/{user_id}/tasks", { params: { ...params, query: { status: "pending" } } });
  // @ts-expect-error: there is no such order
  await client.GET("/api/{user_id}/tasks", { params: { ...params, query: { order: "newest" } } });
  // @ts-expect-error: there is no such parameter
  await client.GET("/api/{user_id}/tasks", { params: { ...params, query: { page: 2 } } });
  // @ts-expect-error: a deletion is not repeated with a key
  await client.DELETE("/api/{user_id}/tasks/{id}", { params: { ...one, header: { "Idempotency-Key": "k" } } });
  // @ts-expect-error: a list of tags is no text
  await client.PUT("/api/{user_id}/tasks/{id}", { params: one, body: { tags: "home" } });
  // @ts-expect-error: a flag is no text
  await client.PATCH("/api/{user_id}/tasks/{id}/complete", { params: one, body: { is_completed: "yes" } });
  // @ts-expect-error: there is no such path
  await client.GET("/api/{user_id}/task", { params });
  // @ts-expect-error: this path has no such method
  await client.PATCH("/api/{user_id}/tasks/{id}", { params: one });
  // @ts-expect-error: a path needs all of its parameters
  await client.GET("/api/{user_id}/tasks/{id}", { params });
  // @ts-expect-error: a description may be null
  task.description.trim();
  // @ts-expect-error: there may be no data
  (await client.GET("/api/{user_id}/tasks", { params })).data.length;
  // @ts-expect-error: there is no such code
  (await client.GET("/api/{user_id}/tasks", { params })).error?.code === "not-found";
  // @ts-expect-error: there may be no first task
  (await client.GET("/api/{user_id}/tasks", { params })).data?.[0].title;
}
