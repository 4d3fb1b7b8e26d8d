"use client";
import { type FormEvent, useRef, useState } from "react";
import { readForm, type TaskValues } from "@/lib/task-values";
import { useCreateTask } from "@/lib/use-tasks";
import { useNotify } from "./notices";
import { DetailFields, TitleField, useFaults } from "./task-fields";

/** Add a task: often its title is enough, so that the other fields are folded. */
export function NewTaskForm() {
  const create = useCreateTask();
  const notify = useNotify();
  const form = useRef<HTMLFormElement>(null);
  const [count, setCount] = useState(0);
  const keyFor = useIdempotencyKey();
  const faults = useFaults(create, form);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (create.isPending) return;
    const body = readForm(new FormData(event.currentTarget));
    create.mutate({ body, key: keyFor(body) }, { onSuccess: () => startAgain(body) });
  }

  function forgetError() {
    if (create.isError) create.reset();
  }

  function startAgain({ title }: TaskValues) {
    keyFor(undefined);
    form.current?.reset();
    form.current?.querySelector("input")?.focus();
    setCount(count + 1);
    notify({ text: `Added “${title}”.` });
  }

  return (
    <form ref={form} className="new-task card" aria-label="New task" noValidate onSubmit={submit} onInput={forgetError}>
      <div className="first-row">
        <TitleField label="New task" placeholder="What is to be done?" faults={faults} />
        <button className="primary" aria-disabled={create.isPending}>
          Add
        </button>
      </div>
      <details>
        <summary>Details</summary>
        <DetailFields key={count} faults={faults} />
      </details>
      <p role="alert" className="error">
        {faults.general}
      </p>
    </form>
  );
}

/**
 * Return a function that returns the same key for the same body, until it is called with another one.
 *
 * If a response is lost and somebody presses the button again, the server then knows the task, and adds no second one.
 */
function useIdempotencyKey() {
  const last = useRef({ body: "", key: "" });
  return (body: TaskValues | undefined) => {
    const text = JSON.stringify(body) ?? "";
    if (text !== last.current.body) last.current = { body: text, key: crypto.randomUUID() };
    return last.current.key;
  };
}
