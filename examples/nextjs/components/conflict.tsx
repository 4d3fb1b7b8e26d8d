"use client";
import { spoken } from "@/lib/dates";
import { FIELDS, LABELS, PRIORITIES, STATUSES, valuesOf } from "@/lib/task-values";
import type { Task } from "@/lib/taskd";

type Props = { before: Task; now: Task; onKeep: () => void; onReplace: () => void };

/** What somebody else has changed about a task while it is being edited, and the choice between the two. */
export function Conflict({ before, now, onKeep, onReplace }: Props) {
  const changed = FIELDS.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
  return (
    <div className="conflict">
      <p>
        <strong>This task has been changed elsewhere.</strong>
      </p>
      <dl>
        {changed.map((name) => (
          <div key={name}>
            <dt>{LABELS[name]}</dt>
            <dd>
              <del>{text(before, name)}</del> <ins>{text(now, name)}</ins>
            </dd>
          </div>
        ))}
      </dl>
      <p className="buttons">
        <button type="button" onClick={onReplace}>
          Discard my changes
        </button>
        <button type="button" onClick={onKeep}>
          Keep my changes
        </button>
      </p>
    </div>
  );
}

function text(task: Task, name: (typeof FIELDS)[number]): string {
  if (name === "status") return STATUSES[task.status];
  if (name === "priority") return PRIORITIES[task.priority];
  if (name === "due_at") return task.due_at === null ? "none" : spoken(task.due_at);
  if (name === "tags") return task.tags.join(" · ") || "none";
  return valuesOf(task)[name] || "none";
}
