// A frontend for the tests: Better Auth as docs/guides/better-auth.md sets it up, a page that uses it, and routes below /test by
// which the tests see and steer what a real frontend hides.  It takes one JSON argument and says in one line of JSON
// where it listens.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { deserialize, serialize } from "node:v8";
import { betterAuth } from "better-auth";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";

// The first line of the output is the port.
console.log = console.error;

const setUps = {
  "key-set": () => Promise.all([import("./key-set/lib/auth"), import("./key-set/lib/database")]),
  "shared-secret": () => Promise.all([import("./shared-secret/lib/auth"), import("./shared-secret/lib/database")]),
};
const options = { setUp: "key-set", port: 0, path: "", page: "page.mjs", ...JSON.parse(process.argv[2]) };
const sentTokens = new Map();
const keySet = { asked: 0, behaviour: "honest", held: [], watchers: [] };
const files = {
  "/": ["text/html", readFileSync(new URL("../page.html", import.meta.url))],
  "/page.mjs": ["text/javascript", readFileSync(new URL(options.page, import.meta.url))],
};

// What an endpoint may answer instead of its keys.
const lies = {
  html: (answer) => send(answer, 200, "text/html", "<!doctype html><title>Sign in</title>"),
  // Whoever follows it gets the keys.
  redirect: (answer) => answer.writeHead(302, { Location: "/api/auth/jwks?honest" }).end(),
  large: (answer) => send(answer, 200, "application/json", JSON.stringify({ keys: [], padding: "x".repeat(2 ** 21) })),
  truncated: (answer) => send(answer, 200, "application/json", '{"keys":[{"kty":"OKP","crv":"Ed25519"'),
  keyless: (answer) => send(answer, 200, "application/json", '{"detail":"nothing here"}'),
  broken: (answer) => send(answer, 500, "application/json", '{"detail":"out of order"}'),
};

function send(answer, status, type, body) {
  answer.writeHead(status, { "Content-Type": type }).end(body);
}

function sendJson(answer, value) {
  send(answer, 200, "application/json", JSON.stringify(value));
}

/** Better Auth as the documentation has it, or with what *options* change. */
function configured(auth) {
  const { jwt: jwtOptions, session, withBearer, verifiesEmail } = options;
  if (!jwtOptions && !session && !withBearer && !verifiesEmail) return auth;
  const sendVerificationEmail = async ({ user, token }) => sentTokens.set(user.email, token);
  return betterAuth({
    ...auth.options,
    session,
    ...(verifiesEmail && { emailVerification: { sendOnSignUp: true, sendVerificationEmail } }),
    plugins: [jwt(jwtOptions), ...(withBearer ? [bearer()] : [])],
  });
}

function answerKeySet(request, answer, handler) {
  keySet.asked += 1;
  notify();
  if (keySet.behaviour === "hold") keySet.held.push(() => answerKeySetNow(request, answer, handler));
  else answerKeySetNow(request, answer, handler);
}

function answerKeySetNow(request, answer, handler) {
  (lies[keySet.behaviour] ?? handler)(answer, request);
}

/** Answer whoever waits until the keys were asked for so often. */
function notify() {
  const [told, left] = [[], []];
  for (const watcher of keySet.watchers) (keySet.asked >= watcher.count ? told : left).push(watcher);
  keySet.watchers = left;
  for (const watcher of told) sendJson(watcher.answer, { asked: keySet.asked });
}

const testRoutes = {
  "/test/verification-token": (url, answer) => sendJson(answer, { token: sentTokens.get(url.searchParams.get("email")) }),
  // How often the keys were asked for; the answer waits until it is as often as given.
  "/test/asked": (url, answer) => {
    keySet.watchers.push({ count: Number(url.searchParams.get("count") ?? 0), answer });
    notify();
  },
  "/test/behave": (url, answer) => {
    keySet.behaviour = url.searchParams.get("as");
    for (const release of keySet.held.splice(0)) release();
    sendJson(answer, {});
  },
};

function dispatch(handler, request, answer) {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname in testRoutes) testRoutes[url.pathname](url, answer);
  else if (url.pathname in files) send(answer, 200, ...files[url.pathname]);
  else if (url.pathname.endsWith("/jwks") && url.search !== "?honest") answerKeySet(request, answer, (to, from) => handler(from, to));
  else handler(request, answer);
}

const server = createServer();
server.listen(options.port, "127.0.0.1", async () => {
  const { port } = server.address();
  // Better Auth reads this when it is imported.
  process.env.BETTER_AUTH_URL = `http://127.0.0.1:${port}${options.path}`;
  const [{ auth }, { tables }] = await setUps[options.setUp]();
  if (options.store && existsSync(options.store)) Object.assign(tables, deserialize(readFileSync(options.store)));
  process.on("SIGTERM", () => {
    if (options.store) writeFileSync(options.store, serialize(tables));
    process.exit(0);
  });
  const handler = toNodeHandler(configured(auth));
  server.on("request", (request, answer) => dispatch(handler, request, answer));
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});
