import { headers } from "next/headers";
import { redirect } from "next/navigation";
import { Header } from "@/components/header";
import { Providers } from "@/components/providers";
import { TasksPage } from "@/components/tasks-page";
import { auth } from "@/lib/auth";

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (session === null) redirect("/sign-in");
  return (
    // The server reads the URL when it runs, so that one build can be deployed beside any taskd.
    <Providers userId={session.user.id} taskdUrl={process.env.TASKD_URL ?? "http://127.0.0.1:8000"}>
      <Header userName={session.user.name} />
      <TasksPage />
    </Providers>
  );
}
