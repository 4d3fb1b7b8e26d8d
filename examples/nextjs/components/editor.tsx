"use client";
import { useSearchParams } from "next/navigation";
import { type ReactNode, useEffect, useLayoutEffect, useRef } from "react";
import { hrefWith } from "@/lib/filters";
import { useTask } from "@/lib/use-tasks";
import { EditForm } from "./edit-form";
import { CrossIcon } from "./icons";

/** A task in a dialog, loaded by its id: the URL may have come from anywhere. */
export function Editor({ id }: { id: string }) {
  const params = useSearchParams();
  const { data, error, isPlaceholderData } = useTask(id);
  const close = () => window.history.replaceState(null, "", hrefWith(params, { task: "" }));
  return (
    <Dialog title="Edit task" onClose={close}>
      {error && !data && (
        <p role="alert" className="error">
          {error.message}
        </p>
      )}
      {!error && !data && <p role="status">Loading …</p>}
      {data && <EditForm current={data} isLoading={isPlaceholderData} onClose={close} />}
    </Dialog>
  );
}

function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
    // Not the first field: on a telephone, that would open the keyboard.
    dialog.current?.querySelector("h2")?.focus();
  }, []);

  useLayoutEffect(() => {
    const opened = dialog.current;
    // While it is still in the document, closing it returns the focus to where it was before.
    return () => opened?.close();
  }, []);

  function cancel(event: { preventDefault: () => void }) {
    event.preventDefault();
    onClose();
  }

  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onCancel={cancel}>
      <h2 id="dialog-title" tabIndex={-1}>
        {title}
      </h2>
      {children}
      <button type="button" className="close quiet icon-only" aria-label="Close" onClick={onClose}>
        <CrossIcon />
      </button>
    </dialog>
  );
}
