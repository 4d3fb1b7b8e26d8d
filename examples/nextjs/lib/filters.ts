// The filters of the list.  They are in the page's URL, so that a view can be bookmarked, shared and gone back to.
import { startOfDay } from "./dates";
import type { Priority, Status, TaskQuery } from "./taskd";
import { oneOf, PRIORITIES, STATUSES } from "./task-values";

const PAGE_SIZE = 50;

export const DUE = { today: "By today", week: "Next 7 days" };
const DAYS: Record<keyof typeof DUE, number> = { today: 1, week: 7 };

export const SORTS = {
  created_at: "Newest",
  due_at: "Due date",
  priority: "Priority",
  title: "Title",
  updated_at: "Changed",
};

export type Filters = {
  status?: Status;
  priority?: Priority;
  due?: keyof typeof DUE;
  sort?: keyof typeof SORTS;
  tag: string[];
  search: string;
};

export function readFilters(params: URLSearchParams): Filters {
  return {
    status: oneOf(STATUSES, params.get("status")),
    priority: oneOf(PRIORITIES, params.get("priority")),
    due: oneOf(DUE, params.get("due")),
    sort: oneOf(SORTS, params.get("sort")),
    tag: params.getAll("tag"),
    search: params.get("search") ?? "",
  };
}

/** Whether any filter is set; sorting is none. */
export function isFiltered({ status, priority, due, tag, search }: Filters): boolean {
  return Boolean(status || priority || due || tag.length || search);
}

/** Return what to ask taskd for. */
export function queryOf({ status, priority, due, sort, tag, search }: Filters, now = new Date()): TaskQuery {
  return {
    limit: PAGE_SIZE,
    status: status && [status],
    priority: priority && [priority],
    due_before: due && startOfDay(now, DAYS[due]).toISOString(),
    sort,
    tag,
    search: search || undefined,
  };
}

export type UrlChanges = Partial<Record<keyof Filters | "task", string | string[]>>;

/** Return the URL with some parameters changed; an empty text removes one. */
export function hrefWith(params: URLSearchParams, changes: UrlChanges): string {
  const changed = new URLSearchParams(params);
  for (const [name, values] of Object.entries(changes)) {
    changed.delete(name);
    for (const value of [values].flat()) if (value !== "") changed.append(name, value);
  }
  return changed.size ? `/?${changed}` : "/";
}
