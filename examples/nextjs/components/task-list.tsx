"use client";
import { useSearchParams } from "next/navigation";
import { useEffect, useRef } from "react";
import { hrefWith, isFiltered, queryOf, readFilters } from "@/lib/filters";
import { isTemporary } from "@/lib/query-client";
import { STATUSES } from "@/lib/task-values";
import { useTaskPages } from "@/lib/use-tasks";
import { ShallowLink } from "./shallow-link";
import { TaskRow } from "./task-row";

const NO_FILTERS = { status: "", priority: "", due: "", tag: "", search: "" };

/** The tasks that the URL asks for. */
export function TaskList() {
  const params = useSearchParams();
  const filters = readFilters(params);
  const pages = useTaskPages(queryOf(filters));
  const tasks = pages.data?.pages.flatMap((page) => page.tasks) ?? [];
  const total = pages.data?.pages.at(-1)?.total ?? 0;

  const list = useRef<HTMLUListElement>(null);
  const firstNew = useRef<number>(undefined);

  // After a press on the button, which may be gone then, the focus moves on to where reading goes on.
  useEffect(() => {
    if (firstNew.current === undefined || firstNew.current >= tasks.length) return;
    list.current?.querySelectorAll<HTMLElement>(".title").item(firstNew.current).focus();
    firstNew.current = undefined;
  }, [tasks.length]);

  function showMore() {
    firstNew.current = tasks.length;
    void pages.fetchNextPage();
  }

  return (
    <section aria-labelledby="tasks-heading" aria-busy={pages.isFetching}>
      <div className="list-header">
        <h1 id="tasks-heading" tabIndex={-1}>
          {filters.status ? STATUSES[filters.status] : "All tasks"}
        </h1>
        <p role="status">{statusOf(pages, tasks.length, total)}</p>
      </div>
      {pages.isError && (
        <p role="alert" className="problem">
          {pages.error.message}{" "}
          <button type="button" onClick={() => pages.refetch()}>
            Try again
          </button>
        </p>
      )}
      {pages.isPending && !pages.isError && <div className="skeleton" aria-hidden="true" />}
      {pages.isSuccess && tasks.length === 0 && (
        <div className="empty card">
          {isFiltered(filters) ? (
            <>
              <p>No task matches.</p>
              <ShallowLink className="button" href={hrefWith(params, NO_FILTERS)}>
                Clear all filters
              </ShallowLink>
            </>
          ) : (
            <p>Nothing to do yet. Add your first task above.</p>
          )}
        </div>
      )}
      {tasks.length > 0 && (
        <ul ref={list} className={pages.isPlaceholderData ? "task-list card outdated" : "task-list card"}>
          {tasks.map((task) => (
            <TaskRow key={task.id} task={task} />
          ))}
        </ul>
      )}
      {pages.hasNextPage && (
        <button type="button" className="more" aria-disabled={pages.isFetchingNextPage} onClick={showMore}>
          Show more
        </button>
      )}
    </section>
  );
}

function statusOf(pages: ReturnType<typeof useTaskPages>, shown: number, total: number): string {
  if (pages.fetchStatus === "paused") return "You are offline. Changes will be sent later.";
  if (isTemporary(pages.failureReason) && pages.isFetching) return "The server is busy. Trying again …";
  if (pages.isPending) return pages.isError ? "" : "Loading …";
  if (shown < total) return `${shown} of ${total} tasks`;
  return total === 1 ? "1 task" : `${total} tasks`;
}
