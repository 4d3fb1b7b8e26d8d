// Checks titles, a JSON array of texts, by the schemas that hey-api generates for zod and valibot and orval for zod, and
// prints which of them each takes.
import * as valibot from "valibot";
import { CreateTaskBody } from "./schemas/orval";
import { vNewTask } from "./schemas/valibot.gen";
import { zNewTask } from "./schemas/zod.gen";

const titles: string[] = JSON.parse(process.argv[2] ?? "[]");
const taken = titles.map((title) => [
  zNewTask.safeParse({ title }).success,
  valibot.safeParse(vNewTask, { title }).success,
  CreateTaskBody.safeParse({ title }).success,
]);
console.log(JSON.stringify(taken));
