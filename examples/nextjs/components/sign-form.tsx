"use client";
import Link from "next/link";
import { type FormEvent, useState } from "react";
import { authClient, startAfresh } from "@/lib/auth-client";
import { CheckIcon } from "./icons";

const TEXTS = {
  in: { action: "Sign in", question: "No account yet?", href: "/sign-up", other: "Sign up" },
  up: { action: "Sign up", question: "Have an account?", href: "/sign-in", other: "Sign in" },
};

/** Sign in with an e-mail address, or sign up. */
export function SignForm({ mode }: { mode: "in" | "up" }) {
  const [problem, setProblem] = useState("");
  const [isPending, setIsPending] = useState(false);
  const { action, question, href, other } = TEXTS[mode];

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "");
    const credentials = { email: text("email"), password: text("password") };
    setProblem("");
    setIsPending(true);
    const { error } =
      mode === "in"
        ? await authClient.signIn.email(credentials)
        : await authClient.signUp.email({ ...credentials, name: text("name") });
    if (!error) return startAfresh("/");
    setProblem(error.message ?? "This did not work. Please try again later.");
    setIsPending(false);
  }

  return (
    <main className="sign">
      <p className="brand">
        <CheckIcon /> Tasks
      </p>
      <form className="card" onSubmit={submit}>
        <h1>{action}</h1>
        {mode === "up" && (
          <label>
            Name
            <input name="name" autoComplete="name" required />
          </label>
        )}
        <label>
          E-mail address
          <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password
          <input
            name="password"
            type="password"
            autoComplete={mode === "in" ? "current-password" : "new-password"}
            minLength={8}
            required
            aria-describedby={mode === "up" ? "password-hint" : undefined}
          />
        </label>
        {mode === "up" && (
          <p id="password-hint" className="hint">
            At least 8 characters.
          </p>
        )}
        <p role="alert" className="error">
          {problem}
        </p>
        <button className="primary" disabled={isPending}>
          {action}
        </button>
      </form>
      <p>
        {question} <Link href={href}>{other}</Link>
      </p>
    </main>
  );
}
