const openapi = document.currentScript.dataset.openapi;

// Swagger UI has a dark style, but the page has to turn it on.
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
  // A token stays in the memory of this page, and is lost when the page is closed.
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
