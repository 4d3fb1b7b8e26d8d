"use client";
import { useSearchParams } from "next/navigation";
import { Editor } from "./editor";
import { FilterBar } from "./filter-bar";
import { NewTaskForm } from "./new-task-form";
import { TaskList } from "./task-list";

/** Everything about tasks on one page, whose URL says which tasks are listed, and which one is open. */
export function TasksPage() {
  const opened = useSearchParams().get("task");
  return (
    <main className="tasks-page">
      <NewTaskForm />
      <FilterBar />
      <TaskList />
      {opened && <Editor key={opened} id={opened} />}
    </main>
  );
}
