"use client";
import { QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useMemo, useState } from "react";
import { makeQueryClient } from "@/lib/query-client";
import { tasksOf } from "@/lib/taskd";
import { TasksContext } from "@/lib/use-tasks";
import { Notices } from "./notices";

type Props = { userId: string; taskdUrl: string; children: ReactNode };

/** Whatever components need to work with the tasks of a user. */
export function Providers({ userId, taskdUrl, children }: Props) {
  const [queryClient] = useState(makeQueryClient);
  const tasks = useMemo(() => tasksOf(userId, taskdUrl), [userId, taskdUrl]);
  return (
    <QueryClientProvider client={queryClient}>
      <TasksContext value={tasks}>
        <Notices>{children}</Notices>
      </TasksContext>
    </QueryClientProvider>
  );
}
