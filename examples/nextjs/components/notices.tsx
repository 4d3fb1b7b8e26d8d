"use client";
import { createContext, type ReactNode, useContext, useEffect, useReducer } from "react";
import { CrossIcon } from "./icons";

type Notice = { text: string; isError?: boolean; undo?: () => void };
type Numbered = Notice & { number: number };

const SHOWN_MS = 6_000;
const NotifyContext = createContext<(notice: Notice) => void>(() => {});

/** Return a function that shows a notice, in place of the last one. */
export const useNotify = () => useContext(NotifyContext);

/** Show notices below *children*. */
export function Notices({ children }: { children: ReactNode }) {
  const [notice, show] = useReducer(next, undefined);
  const toast = notice && <Toast key={notice.number} notice={notice} onDismiss={() => show(undefined)} />;
  return (
    <NotifyContext value={show}>
      {children}
      {/* Screen readers read out what appears in these, so they are always there. */}
      <div className="notices" role="alert">
        {notice?.isError && toast}
      </div>
      <div className="notices" role="status">
        {!notice?.isError && toast}
      </div>
    </NotifyContext>
  );
}

function next(last: Numbered | undefined, notice: Notice | undefined): Numbered | undefined {
  return notice && { ...notice, number: (last?.number ?? 0) + 1 };
}

/** One notice.  It goes away by itself, unless it tells of an error or can be undone: some people need time for that. */
function Toast({ notice, onDismiss }: { notice: Notice; onDismiss: () => void }) {
  const { text, isError, undo } = notice;
  const stays = isError || undo !== undefined;

  useEffect(() => {
    if (stays) return;
    const timer = setTimeout(onDismiss, SHOWN_MS);
    return () => clearTimeout(timer);
  });

  function dismiss() {
    onDismiss();
    // The button that had the focus is gone.
    document.getElementById("tasks-heading")?.focus();
  }

  function takeBack() {
    dismiss();
    undo?.();
  }

  return (
    <p className={isError ? "toast error" : "toast"}>
      <span>{text}</span>
      {undo && (
        // What had the focus is gone, and this is what one may want to do next.
        <button type="button" className="quiet" autoFocus onClick={takeBack}>
          Undo
        </button>
      )}
      <button type="button" className="quiet icon-only" aria-label="Dismiss" onClick={dismiss}>
        <CrossIcon />
      </button>
    </p>
  );
}
