"use client";
// The tasks in TanStack Query's cache: how they get there, and what each change does to them.
import {
  type InfiniteData,
  keepPreviousData,
  type QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { changesBetween, valuesOf, type TaskValues } from "./task-values";
import { type NewTask, type Task, TaskdError, type TaskPage, type TaskQuery, type Tasks } from "./taskd";

export const TasksContext = createContext<Tasks | undefined>(undefined);

function useApi(): Tasks {
  const tasks = useContext(TasksContext);
  if (tasks === undefined) throw new Error("There is no TasksContext around this component.");
  return tasks;
}

type Pages = InfiniteData<TaskPage, string | undefined>;
const LISTS = ["tasks"];
const taskKey = (id: string) => ["task", id];

/** The tasks that match *query*, page by page. */
export function useTaskPages(query: TaskQuery) {
  const tasks = useApi();
  return useInfiniteQuery({
    queryKey: [...LISTS, query],
    queryFn: ({ pageParam: cursor, signal }) => tasks.list({ ...query, cursor }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
}

/** One task, as it is now; while it is being loaded, as the list has it. */
export function useTask(id: string) {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useQuery({
    queryKey: taskKey(id),
    queryFn: ({ signal }) => tasks.get(id, signal),
    placeholderData: listedTask(client, id),
  });
}

function listedTask(client: QueryClient, id: string): Task | undefined {
  const lists = client.getQueriesData<Pages>({ queryKey: LISTS });
  const listed = lists.flatMap(([, data]) => data?.pages.flatMap((page) => page.tasks) ?? []);
  return listed.find((task) => task.id === id);
}

export function useCreateTask() {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useMutation({
    mutationFn: ({ body, key }: { body: NewTask; key: string }) => tasks.create(body, key),
    onSettled: () => reload(client),
  });
}

/** Complete a task or reopen it, in the lists at once. */
export function useCompleteTask() {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useMutation({
    mutationFn: ({ id, completed }: { id: string; completed: boolean }) => tasks.complete(id, completed),
    onMutate: ({ id, completed }) => {
      const status = completed ? "completed" : "pending";
      return changeLists(client, (task) => (task.id === id ? { ...task, completed, status } : task));
    },
    onError: (_error, _variables, restore) => restore?.(),
    // With its new version, so that the next change does not seem to be one of an old version.
    onSuccess: (saved) => changeLists(client, (task) => (task.id === saved.id ? saved : task)),
    onSettled: () => reload(client),
  });
}

/** Delete a task, in the lists at once. */
export function useDeleteTask() {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useMutation({
    mutationFn: (task: Task) => tasks.delete(task),
    onMutate: ({ id }) => changeLists(client, (task) => (task.id === id ? undefined : task)),
    onError: (_error, _variables, restore) => restore?.(),
    onSettled: () => reload(client),
  });
}

export function useRestoreTask() {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useMutation({
    mutationFn: (task: Task) => tasks.restore(task.id, valuesOf(task)),
    onSettled: () => reload(client),
  });
}

/** Change a task, unless it has another version by now: then its new version is loaded, and the error is a 412. */
export function useUpdateTask(id: string) {
  const [tasks, client] = [useApi(), useQueryClient()];
  return useMutation({
    mutationFn: async ({ version, changes }: { version: number; changes: Partial<TaskValues> }) => {
      try {
        return await tasks.update({ id, version }, changes);
      } catch (error) {
        if (!isConflict(error)) throw error;
        const current = await tasks.get(id);
        client.setQueryData(taskKey(id), current);
        // Was it this very change, whose response was lost?
        const missing = changesBetween(valuesOf(current), { ...valuesOf(current), ...changes });
        if (Object.keys(missing).length > 0) throw error;
        return current;
      }
    },
    onSuccess: (saved) => client.setQueryData(taskKey(id), saved),
    onSettled: () => reload(client),
  });
}

export function isConflict(error: unknown): boolean {
  return error instanceof TaskdError && error.status === 412;
}

/** Change, or remove, tasks in all lists; return what takes that back. */
async function changeLists(client: QueryClient, change: (task: Task) => Task | undefined): Promise<() => void> {
  // A response that is still on its way would undo the change.
  await client.cancelQueries({ queryKey: LISTS });
  const before = client.getQueriesData<Pages>({ queryKey: LISTS });
  client.setQueriesData<Pages>({ queryKey: LISTS }, (data) => data && { ...data, pages: data.pages.map(changePage) });
  return () => before.forEach(([key, data]) => client.setQueryData(key, data));

  function changePage(page: TaskPage): TaskPage {
    return { ...page, tasks: page.tasks.map(change).filter((task) => task !== undefined) };
  }
}

/** Load the lists again, once the last of several changes is done. */
async function reload(client: QueryClient): Promise<void> {
  if (client.isMutating() === 1) await client.invalidateQueries({ queryKey: LISTS });
}
