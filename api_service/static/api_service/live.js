"use strict";
// Keeps a page of something that is under way up to date: while it has an element with `data-live` (seconds between
// two looks) the page is fetched again and its changing parts are put into place. It stops when it is over, and rests
// while nobody sees it. Without this file the page has a link to reload it.
(() => {
  const MARK = "[data-live]";
  const PARTS = ["[data-live-part]", "#content-main"];
  const TOKENS = "input[name=csrfmiddlewaretoken]";
  const LONGEST_MS = 10_000;
  // What changed is said once; a screen reader overhears a region that is itself replaced
  const spoken = document.createElement("div");
  spoken.className = "cw-spoken";
  spoken.setAttribute("role", "status");
  // Of each part what the server said last: what is shown has been changed by scripts of the page, so that the first
  // look puts it into place whatever it says
  const said = [];
  let timer = 0;
  let isLoading = false;

  function textOf(page) {
    const next = page.querySelector(".cw-next");
    return next ? next.textContent.trim().replace(/\s+/g, " ") : "";
  }

  function partsOf(page) {
    const selector = PARTS.find((one) => page.querySelector(one));
    return selector ? [...page.querySelectorAll(selector)] : [];
  }

  // Each answer masks the token of a form anew: that is no change
  function markupOf(part) {
    const copy = part.cloneNode(true);
    copy.querySelectorAll(TOKENS).forEach((token) => token.setAttribute("value", ""));
    return copy.innerHTML;
  }

  function isSelectedIn(part) {
    const selection = getSelection();
    return !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(part);
  }

  function alikeIn(part, control) {
    const nameOf = (one) => JSON.stringify([one.id, one.name, one.getAttribute("href"), one.textContent.trim()]);
    const name = nameOf(control);
    return [...part.querySelectorAll(control.localName)].filter((one) => nameOf(one) === name);
  }

  // The new part has the focus where the old one had it
  function replace(part, newer) {
    const focused = document.activeElement;
    const hadFocus = part !== focused && part.contains(focused);
    const alike = hadFocus ? alikeIn(newer, focused) : [];
    const number = hadFocus ? alikeIn(part, focused).indexOf(focused) : 0;
    part.replaceChildren(...newer.childNodes);
    alike[number]?.focus({ preventScroll: true });
  }

  function show(page) {
    const before = textOf(document);
    const fresh = partsOf(page);
    partsOf(document).forEach((part, number) => {
      const newer = fresh[number];
      if (!newer || isSelectedIn(part)) {
        return;
      }
      const markup = markupOf(newer);
      if (markup !== said[number]) {
        replace(part, newer);
      }
      said[number] = markup;
    });
    const after = textOf(document);
    if (after !== before) {
      spoken.textContent = after;
    }
  }

  async function look() {
    if (isLoading) {
      return;
    }
    isLoading = true;
    try {
      const answer = await fetch(location.href, {
        cache: "no-store",
        // What was waited for has a page of its own: the browser goes there, not this request
        redirect: "manual",
        signal: AbortSignal.timeout(LONGEST_MS),
      });
      if (answer.type === "opaqueredirect") {
        location.reload();
        return;
      }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (!page.querySelector(MARK)) {
          // It is over: the title, the messages and the buttons are others, too
          location.reload();
          return;
        }
        show(page);
      }
    } catch (error) {
      // A server that restarts, a network that is gone for a moment: the next look tries again
      console.warn("not loaded again:", error);
    } finally {
      isLoading = false;
    }
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    const mark = document.querySelector(MARK);
    if (mark && !document.hidden) {
      timer = setTimeout(look, 1000 * Number(mark.dataset.live));
    }
  }

  document.addEventListener("visibilitychange", schedule);
  document.addEventListener("DOMContentLoaded", () => {
    document.body.append(spoken);
    schedule();
  });
})();
