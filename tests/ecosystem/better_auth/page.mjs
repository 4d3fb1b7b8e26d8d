// The page of the browser tests: it knows taskd by the documentation's lib/tasks.ts only.
import { authClient, tasks } from "tasks";

const byId = (id) => document.getElementById(id);

/** Do *action*, and show the tasks that there are then, or why that failed. */
async function perform(action) {
  try {
    await action();
    byId("tasks").replaceChildren(...(await tasks()).map(shown));
    byId("problem").textContent = "";
  } catch (error) {
    byId("problem").textContent = error.message;
  }
}

function shown(task) {
  const [item, text] = [document.createElement("li"), document.createElement("span")];
  text.textContent = `${task.title}: ${task.status}`;
  item.append(
    text,
    button("Complete", () =>
      tasks(`/${task.id}/complete`, { method: "PATCH", body: JSON.stringify({ is_completed: true }) }),
    ),
    button("Delete", () => tasks(`/${task.id}`, { method: "DELETE" })),
  );
  return item;
}

function button(label, action) {
  const made = document.createElement("button");
  made.textContent = label;
  made.addEventListener("click", () => perform(action));
  return made;
}

function onSubmit(id, action) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    perform(() => action(Object.fromEntries(new FormData(event.target))));
  });
}

onSubmit("sign-up", async ({ email, password }) => {
  const { data, error } = await authClient.signUp.email({ name: "Alice", email, password });
  if (error) throw new Error(error.message);
  byId("user").textContent = data.user.id;
});
onSubmit("new", ({ title }) => tasks("", { method: "POST", body: JSON.stringify({ title }) }));
