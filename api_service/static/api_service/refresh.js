// Parts of a page that ask for themselves again: <div hx-get="…" hx-trigger="cw:refresh" data-cw-every="10">.
//
// A page that nobody sees asks for nothing. Open <details> stay open, htmx keeps the focus of what has an id, what
// somebody is marking is left alone, and only a changed [data-cw-say] is spoken, by [data-cw-announce].
(() => {
  "use strict";
  const asked = new WeakMap();
  // One part's answer says nothing of another that has had none
  const failing = new Set();
  let said;

  const parts = () => document.querySelectorAll("[data-cw-every]");
  const isSeen = () => document.visibilityState === "visible";

  const isMarking = (part) => {
    const marked = document.getSelection();
    return Boolean(marked) && !marked.isCollapsed && part.contains(marked.anchorNode);
  };

  const askWhatIsDue = () => {
    const now = performance.now();
    for (const part of parts()) {
      // Half a second of leeway: a timer that is late must not make it wait for the next one
      const due = (asked.get(part) ?? 0) + Number(part.dataset.cwEvery) * 1000 - 500;
      if (isSeen() && now >= due && !isMarking(part)) {
        asked.set(part, now);
        htmx.trigger(part, "cw:refresh");
      }
    }
  };

  const announce = () => {
    const verdict = document.querySelector("[data-cw-say]");
    const speaker = document.querySelector("[data-cw-announce]");
    const text = verdict ? verdict.dataset.cwSay : "";
    if (speaker && said !== undefined && text !== said) {
      speaker.textContent = text;
    }
    said = text;
  };

  const tellWhetherOutdated = (isOutdated) => {
    for (const warning of document.querySelectorAll("[data-cw-outdated]")) {
      warning.hidden = !isOutdated;
    }
  };

  const ofPart = (act) => (event) => {
    const part = event.detail.elt;
    if (part instanceof Element && part.matches("[data-cw-every]")) {
      act(part, event);
    }
  };

  const open = new WeakMap();
  document.addEventListener("htmx:beforeSwap", ofPart((part) => {
    open.set(part, [...part.querySelectorAll("details[id][open]")].map((one) => one.id));
  }));
  document.addEventListener("htmx:afterSwap", ofPart((part) => {
    for (const id of open.get(part) ?? []) {
      document.getElementById(id)?.setAttribute("open", "");
    }
    announce();
  }));
  document.addEventListener("htmx:afterRequest", ofPart((part, event) => {
    if (event.detail.successful) {
      failing.delete(part);
    } else {
      failing.add(part);
    }
    tellWhetherOutdated(failing.size > 0);
  }));

  document.addEventListener("visibilitychange", askWhatIsDue);
  document.addEventListener("DOMContentLoaded", () => {
    for (const part of parts()) {
      asked.set(part, performance.now());
    }
    announce();
    setInterval(askWhatIsDue, 1000);
  });
})();
