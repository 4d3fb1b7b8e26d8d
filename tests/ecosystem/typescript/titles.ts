// Checks titles, a JSON array of texts, by the schemas for zod and valibot that are generated from the API document, and
// prints which of them each takes.
import * as valibot from "valibot";
import { vNewTask } from "./schemas/valibot.gen.js";
import { zNewTask } from "./schemas/zod.gen.js";

const titles: string[] = JSON.parse(process.argv[2] ?? "[]");
const taken = titles.map((title) => [
  zNewTask.safeParse({ title }).success,
  valibot.safeParse(vNewTask, { title }).success,
]);
console.log(JSON.stringify(taken));
