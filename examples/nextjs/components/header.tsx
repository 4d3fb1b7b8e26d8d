"use client";
import { authClient, startAfresh } from "@/lib/auth-client";
import { CheckIcon } from "./icons";

export function Header({ userName }: { userName: string }) {
  const signOut = async () => {
    await authClient.signOut();
    startAfresh("/sign-in");
  };
  return (
    <header className="page-header">
      <span className="brand">
        <CheckIcon /> Tasks
      </span>
      <span className="user">{userName}</span>
      <button type="button" className="quiet" onClick={signOut}>
        Sign out
      </button>
    </header>
  );
}
