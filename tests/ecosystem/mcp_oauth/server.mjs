// Better Auth as an OAuth server, with the plugins that docs/guides/mcp.md shows.
import http from "node:http";
import { oauthProviderAuthServerMetadata } from "@better-auth/oauth-provider";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { plugins } from "./plugins.mjs";

const [port] = process.argv.slice(2);
const baseURL = `http://127.0.0.1:${port}`;
const tables = [
  ...["user", "session", "account", "verification", "jwks"],
  ...["oauthClient", "oauthRefreshToken", "oauthAccessToken", "oauthConsent", "oauthResource", "oauthClientResource"],
];
const auth = betterAuth({
  baseURL,
  database: memoryAdapter(Object.fromEntries(tables.map((name) => [name, []]))),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  plugins,
});
const metadata = oauthProviderAuthServerMetadata(auth);
const handle = toNodeHandler(auth);

const server = http.createServer(async (request, response) => {
  if (request.url === "/.well-known/oauth-authorization-server/api/auth") {
    const found = await metadata(new Request(baseURL + request.url));
    response.writeHead(found.status, Object.fromEntries(found.headers)).end(await found.text());
  } else {
    await handle(request, response);
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
