"use client";
import type { Task } from "@/lib/taskd";
import { isConflict, useDeleteTask, useRestoreTask } from "@/lib/use-tasks";
import { useNotify } from "./notices";

/** Return a function that deletes a task, and offers to undo that. */
export function useDeleteWithUndo() {
  const remove = useDeleteTask();
  const restore = useRestoreTask();
  const notify = useNotify();

  return (task: Task) => {
    const deleted = remove.mutateAsync(task);
    const undo = () =>
      deleted
        // Only once it is gone: before, there would be nothing to restore.
        .then(() => restore.mutateAsync(task))
        .then(() => notify({ text: `“${task.title}” is back.` }))
        .catch((error: Error) => notify({ text: error.message, isError: true }));
    notify({ text: `Deleted “${task.title}”.`, undo });
    // The version that is deleted is the one that was shown, so that undoing it brings back all there was.
    deleted.catch((error: Error) => {
      const changed = `“${task.title}” has been changed elsewhere. See what it says now before you delete it.`;
      notify({ text: isConflict(error) ? changed : error.message, isError: true });
    });
  };
}
