const openapi = document.currentScript.dataset.openapi;

// Swagger UI has a dark style, and leaves it to the page when to use it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: openapi,
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // A token that is typed in stays in this page's memory, and is gone with the page.
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
