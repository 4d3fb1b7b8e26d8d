"use client";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { changesBetween, readForm, type TaskValues, valuesOf } from "@/lib/task-values";
import type { Task } from "@/lib/taskd";
import { useUpdateTask } from "@/lib/use-tasks";
import { Conflict } from "./conflict";
import { useNotify } from "./notices";
import { DetailFields, TitleField, useFaults } from "./task-fields";
import { useDeleteWithUndo } from "./use-delete-with-undo";

type Props = { current: Task; isLoading: boolean; onClose: () => void };

/**
 * Change a task.
 *
 * *current* is what the server has, and may become newer at any time: after a poll, or when a change was refused because
 * of it.  *base* is the version that is being changed, and *shown* is what the fields begin with.
 */
export function EditForm({ current, isLoading, onClose }: Props) {
  const [base, setBase] = useState(current);
  const [shown, setShown] = useState(valuesOf(current));
  const form = useRef<HTMLFormElement>(null);
  const update = useUpdateTask(current.id);
  const deleteTask = useDeleteWithUndo();
  const notify = useNotify();
  const faults = useFaults(update, form);
  const isOutdated = current.version > base.version && !update.isPending && !update.isSuccess;

  function entered(): Partial<TaskValues> {
    return form.current ? changesBetween(valuesOf(base), readForm(new FormData(form.current))) : {};
  }

  /** Go on with the current version, to which *changes* have been entered. */
  function rebase(changes: Partial<TaskValues>) {
    setBase(current);
    setShown({ ...valuesOf(current), ...changes });
  }

  function decide(changes: Partial<TaskValues>) {
    rebase(changes);
    // The button that had the focus is gone.
    form.current?.querySelector<HTMLElement>(".primary")?.focus();
  }

  // Who has not changed anything need not decide anything.
  useEffect(() => {
    if (isOutdated && isEmpty(entered())) rebase({});
  });

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (update.isPending || isOutdated || isLoading) return;
    const changes = entered();
    if (isEmpty(changes)) return onClose();
    update.mutate({ version: base.version, changes }, { onSuccess: saved });
  }

  function saved({ title }: Task) {
    onClose();
    notify({ text: `Saved “${title}”.` });
  }

  function remove() {
    onClose();
    deleteTask(current);
  }

  return (
    <form ref={form} className="edit-form" noValidate onSubmit={submit}>
      <div key={base.version}>
        <TitleField value={shown.title} faults={faults} />
        <DetailFields values={shown} faults={faults} />
      </div>
      <div role="alert">
        {faults.general && <p className="error">{faults.general}</p>}
        {isOutdated && (
          <Conflict
            before={base}
            now={current}
            onKeep={() => decide(entered())}
            onReplace={() => decide({})}
          />
        )}
      </div>
      <footer>
        <button type="button" className="danger" onClick={remove}>
          Delete
        </button>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button className="primary" aria-disabled={update.isPending || isOutdated || isLoading}>
          Save
        </button>
      </footer>
    </form>
  );
}

function isEmpty(changes: Partial<TaskValues>): boolean {
  return Object.keys(changes).length === 0;
}
