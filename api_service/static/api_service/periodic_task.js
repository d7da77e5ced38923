// What the chosen crontab means, in words below it. Without this file the field of the saved one says it.
(() => {
  const choice = document.getElementById("id_crontab");
  const texts = JSON.parse(document.getElementById("readable-crontabs").textContent);
  if (!choice) return;
  const said = document.createElement("p");
  said.className = "cw-note";
  said.setAttribute("role", "status");
  const say = () => { said.textContent = texts[choice.value] ?? ""; };
  choice.addEventListener("change", say);
  const saved = document.querySelector(".field-crontab_translation");
  if (saved) saved.style.display = "none";
  (choice.closest(".related-widget-wrapper") ?? choice).after(said);
  say();
})();
