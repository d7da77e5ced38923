// What the chosen crontab means, in words below it.
(() => {
  const choice = document.getElementById("id_crontab");
  const texts = JSON.parse(document.getElementById("readable-crontabs").textContent);
  if (!choice) return;
  const said = document.createElement("p");
  said.className = "cw-note";
  said.setAttribute("role", "status");
  const say = () => { said.textContent = texts[choice.value] ?? ""; };
  choice.addEventListener("change", say);
  (choice.closest(".related-widget-wrapper") ?? choice).after(said);
  say();
})();
