"use strict";
// Keeps a page of something that is under way up to date: while it has an element with `data-live` (seconds between
// two looks) the page is fetched again and its changing parts are put into place. It stops when it is over, and rests
// while nobody sees it. Without this file the page has a link to reload it.
(() => {
  const MARK = "[data-live]";
  const PARTS = ["[data-live-part]", "#content-main"];
  const LONGEST_MS = 10_000;
  // What changed is said once; a screen reader overhears a region that is itself replaced
  const spoken = document.createElement("div");
  spoken.className = "cw-spoken";
  spoken.setAttribute("role", "status");
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

  function show(page) {
    const before = textOf(document);
    const fresh = partsOf(page);
    partsOf(document).forEach((part, number) => {
      const newer = fresh[number];
      if (newer && part.innerHTML !== newer.innerHTML) {
        part.replaceChildren(...newer.childNodes);
      }
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
