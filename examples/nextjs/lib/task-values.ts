// What people enter about a task: from a task, from a form, and how two of them differ.
import type { NewTask, Priority, Status, Task } from "./taskd";

export type TaskValues = Required<Pick<NewTask, (typeof FIELDS)[number]>>;

export const FIELDS = ["title", "description", "status", "priority", "due_at", "tags"] as const;

export const LABELS: Record<(typeof FIELDS)[number], string> = {
  title: "Title",
  description: "Description",
  status: "Status",
  priority: "Priority",
  due_at: "Due",
  tags: "Tags",
};

export const STATUSES: Record<Status, string> = {
  pending: "To do",
  in_progress: "In progress",
  completed: "Done",
};

export const PRIORITIES: Record<Priority, string> = {
  urgent: "Urgent",
  high: "High",
  medium: "Medium",
  low: "Low",
};

/** Return *value* if it is a key of *options*. */
export function oneOf<K extends string>(options: Record<K, unknown>, value: unknown): K | undefined {
  return typeof value === "string" && Object.hasOwn(options, value) ? (value as K) : undefined;
}

export function valuesOf(task: Task): TaskValues {
  const { title, description, status, priority, due_at, tags } = task;
  return { title, description, status, priority, due_at, tags };
}

export function readForm(form: FormData): TaskValues {
  const text = (name: string) => String(form.get(name) ?? "");
  return {
    title: text("title"),
    description: text("description") || null,
    status: oneOf(STATUSES, text("status")) ?? "pending",
    priority: oneOf(PRIORITIES, text("priority")) ?? "medium",
    due_at: fromLocal(text("due_at")),
    tags: form.getAll("tags").map(String).filter((tag) => tag !== ""),
  };
}

/** Return the values in *after* that are not in *before*. */
export function changesBetween(before: TaskValues, after: TaskValues): Partial<TaskValues> {
  const changed = FIELDS.filter((name) => JSON.stringify(comparable(before)[name]) !== JSON.stringify(after[name]));
  return Object.fromEntries(changed.map((name) => [name, after[name]]));
}

/** Return what the fields of a form make of *values*, so that it is no change: they know no seconds, for example. */
function comparable(values: TaskValues): TaskValues {
  return {
    ...values,
    title: values.title.replace(/[\r\n]/g, ""),
    description: values.description?.replace(/\r\n?/g, "\n") || null,
    due_at: fromLocal(toLocal(values.due_at)),
  };
}

/** Return a time as a field for local times takes it. */
export function toLocal(time: string | null): string {
  if (time === null) return "";
  const date = new Date(time);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function fromLocal(value: string): string | null {
  return value === "" ? null : new Date(value).toISOString().replace(".000Z", "Z");
}
