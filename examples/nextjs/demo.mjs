// Start taskd and this application, each of which is told where the other one is.  Ctrl+C stops both.
import { spawn } from "node:child_process";

const { PORT = "3000", API_PORT = "8000" } = process.env;
const app = `http://localhost:${PORT}`;

function start(command, parameters, environment) {
  const started = spawn(command, parameters, { stdio: "inherit", env: { ...process.env, ...environment } });
  started.on("error", ({ message }) => console.error(`${message}. Is ${command} installed, and its environment active?`));
  return started;
}

const servers = [
  start("taskd", ["dev", "--port", API_PORT], { BETTER_AUTH_URL: app, FRONTEND_URL: app }),
  start("npx", ["next", "dev"], { BETTER_AUTH_URL: app, PORT, TASKD_URL: `http://127.0.0.1:${API_PORT}` }),
];
// One is of no use without the other.
for (const server of servers) server.on("close", () => servers.forEach((other) => other.kill()));
