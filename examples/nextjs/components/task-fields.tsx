"use client";
import { type ReactNode, type RefObject, useEffect, useId } from "react";
import { LABELS, PRIORITIES, STATUSES, type TaskValues, toLocal } from "@/lib/task-values";
import { TaskdError } from "@/lib/taskd";
import { isConflict } from "@/lib/use-tasks";
import { TagInput } from "./tag-input";

/** What taskd found wrong: with each field, and otherwise. */
export type Faults = { general: string; fields: Partial<Record<string, string>> };

type Mutation = { error: Error | null; isPending: boolean; failureReason: Error | null };

/** Return what went wrong, and move the focus to the first field that is wrong. */
export function useFaults(mutation: Mutation, form: RefObject<HTMLFormElement | null>): Faults {
  const { error } = mutation;

  useEffect(() => {
    const field = error && form.current?.querySelector<HTMLElement>("[aria-invalid=true]");
    const details = field?.closest("details");
    if (details) details.open = true;
    field?.focus();
  }, [error, form]);

  const errors = error instanceof TaskdError ? error.errors : [];
  const fields = Object.fromEntries(errors.map(({ field, message }) => [field, `${labelOf(field)} ${message}.`]));
  return { general: errors.length === 0 ? generalFault(mutation) : "", fields };
}

function generalFault({ error, isPending, failureReason }: Mutation): string {
  if (isPending && failureReason) return "The server is busy. Trying again …";
  // People decide about a conflict, see conflict.tsx.
  return error && !isConflict(error) ? error.message : "";
}

function labelOf(field: string): string {
  return Object.hasOwn(LABELS, field) ? LABELS[field as keyof TaskValues] : field;
}

type FieldProps = {
  name: keyof TaskValues;
  label?: string;
  faults: Faults;
  children: (control: ControlProps) => ReactNode;
};

export type ControlProps = {
  id: string;
  name: string;
  "aria-invalid": boolean | undefined;
  "aria-describedby": string | undefined;
};

/** A label, a control, and what is wrong with the control's value. */
function Field({ name, label = LABELS[name], faults, children }: FieldProps) {
  const id = useId();
  const fault = faults.fields[name];
  return (
    <div className={`field ${name}`}>
      <label htmlFor={id}>{label}</label>
      {children({
        id,
        name,
        "aria-invalid": fault === undefined ? undefined : true,
        "aria-describedby": fault === undefined ? undefined : `${id}-fault`,
      })}
      {fault && (
        <p id={`${id}-fault`} className="error">
          {fault}
        </p>
      )}
    </div>
  );
}

type TitleProps = { label?: string; placeholder?: string; value?: string; faults: Faults };

export function TitleField({ label, placeholder, value, faults }: TitleProps) {
  return (
    <Field name="title" label={label} faults={faults}>
      {(control) => <input {...control} required autoComplete="off" placeholder={placeholder} defaultValue={value} />}
    </Field>
  );
}

/** The fields besides the title, with *values* to begin with. */
export function DetailFields({ values, faults }: { values?: TaskValues; faults: Faults }) {
  return (
    <div className="details">
      <Field name="description" faults={faults}>
        {(control) => <textarea {...control} rows={3} defaultValue={values?.description ?? ""} />}
      </Field>
      <Field name="status" faults={faults}>
        {(control) => (
          <select {...control} defaultValue={values?.status ?? "pending"}>
            {options(STATUSES)}
          </select>
        )}
      </Field>
      <Field name="priority" faults={faults}>
        {(control) => (
          <select {...control} defaultValue={values?.priority ?? "medium"}>
            {options(PRIORITIES)}
          </select>
        )}
      </Field>
      <Field name="due_at" faults={faults}>
        {(control) => <input {...control} type="datetime-local" defaultValue={toLocal(values?.due_at ?? null)} />}
      </Field>
      <Field name="tags" faults={faults}>
        {(control) => <TagInput control={control} values={values?.tags ?? []} />}
      </Field>
    </div>
  );
}

function options(labels: Record<string, string>): ReactNode {
  return Object.entries(labels).map(([value, label]) => (
    <option key={value} value={value}>
      {label}
    </option>
  ));
}
