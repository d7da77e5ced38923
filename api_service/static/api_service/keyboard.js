"use strict";
// What unfold lets a mouse click, the keyboard gets to as well, and a screen reader calls a button: the menu on a
// phone, the menu of the person, the themes in it. They are no buttons of HTML there.
(() => {
  const CLICKED = "[x-on\\:click]";
  const NATIVE = "a[href], button, input, select, textarea, summary";
  const LABEL = document.querySelector(".cw-skip");

  function asButton(element) {
    element.tabIndex = 0;
    element.setAttribute("role", "button");
    // An icon of a font is a word that means nothing when it is read aloud
    if (element.matches(".material-symbols-outlined")) {
      element.setAttribute("aria-label", LABEL ? LABEL.dataset.menu : "Menu");
    }
    element.addEventListener("keydown", (event) => {
      if (event.target === element && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        element.click();
      }
    });
  }

  for (const element of document.querySelectorAll(CLICKED)) {
    if (!element.matches(NATIVE) && !element.querySelector(NATIVE)) {
      asButton(element);
    }
  }
})();
