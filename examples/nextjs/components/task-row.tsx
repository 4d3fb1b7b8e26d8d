"use client";
import { useSearchParams } from "next/navigation";
import { spoken } from "@/lib/dates";
import { hrefWith, readFilters } from "@/lib/filters";
import { PRIORITIES } from "@/lib/task-values";
import type { Task } from "@/lib/taskd";
import { useCompleteTask } from "@/lib/use-tasks";
import { BinIcon, ClockIcon, FlagIcon } from "./icons";
import { useNotify } from "./notices";
import { ShallowLink } from "./shallow-link";
import { useDeleteWithUndo } from "./use-delete-with-undo";

/** A task in the list: complete it, open it, delete it. */
export function TaskRow({ task }: { task: Task }) {
  const params = useSearchParams();
  const complete = useCompleteTask();
  const deleteTask = useDeleteWithUndo();
  const notify = useNotify();

  function toggle(completed: boolean) {
    complete.mutate(
      { id: task.id, completed },
      { onError: (error) => notify({ text: `“${task.title}”: ${error.message}`, isError: true }) },
    );
  }

  return (
    <li className={task.completed ? "task completed" : "task"}>
      <input
        type="checkbox"
        aria-label={`Done: ${task.title}`}
        checked={task.completed}
        onChange={(event) => toggle(event.target.checked)}
      />
      <div className="about">
        <ShallowLink className="title" href={hrefWith(params, { task: task.id })}>
          {task.title}
        </ShallowLink>
        {task.description && <p className="description">{task.description}</p>}
        <Facts task={task} />
      </div>
      <button
        type="button"
        className="quiet icon-only"
        aria-label={`Delete ${task.title}`}
        // Until the answer is there, the task's version is not known.
        aria-disabled={complete.isPending}
        onClick={() => complete.isPending || deleteTask(task)}
      >
        <BinIcon />
      </button>
    </li>
  );
}

/** What else there is to know about a task, if anything. */
function Facts({ task }: { task: Task }) {
  const params = useSearchParams();
  const { tag: shown } = readFilters(params);
  const isOverdue = task.due_at !== null && !task.completed && new Date(task.due_at) < new Date();
  return (
    <ul className="facts">
      {task.status === "in_progress" && <li className="fact in-progress">In progress</li>}
      {task.due_at && (
        <li className={isOverdue ? "fact overdue" : "fact"}>
          <ClockIcon />
          <span className="visually-hidden">{isOverdue ? "Overdue since" : "Due"} </span>
          <time dateTime={task.due_at}>{spoken(task.due_at)}</time>
        </li>
      )}
      {task.priority !== "medium" && (
        <li className={`fact ${task.priority}`}>
          <FlagIcon />
          {PRIORITIES[task.priority]}
          <span className="visually-hidden"> priority</span>
        </li>
      )}
      {task.tags.map((tag) => (
        <li key={tag}>
          <ShallowLink className="tag" href={hrefWith(params, { tag: [...new Set([...shown, tag])] })}>
            <span className="visually-hidden">Only tasks with the tag </span>
            {tag}
          </ShallowLink>
        </li>
      ))}
    </ul>
  );
}
