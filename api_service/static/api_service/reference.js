// Swagger UI has a dark theme, and leaves it to the page to ask for it.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", show);
  show();
})();
