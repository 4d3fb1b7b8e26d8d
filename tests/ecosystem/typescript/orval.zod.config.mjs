export default {
  taskd: { input: "openapi.json", output: { target: "schemas/orval.ts", client: "zod" } },
};
