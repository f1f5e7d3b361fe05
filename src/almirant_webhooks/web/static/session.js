// Warns before a session ends, and lets it go on at a button. What is typed stays on the page.
(() => {
  "use strict";

  const { _, locale } = globalThis.almirant;
  const WARNED_BEFORE = 10 * 60 * 1000;
  const LONGEST_TIMER = 2 ** 31 - 1;
  const box = document.getElementById("session-end");
  if (!box) return;
  const words = box.querySelector("span");
  const button = box.querySelector("button");
  let timer = null;

  const look = () => {
    clearTimeout(timer);
    const left = new Date(box.dataset.ends) - Date.now();
    if (left > WARNED_BEFORE) {
      box.hidden = true;
      timer = setTimeout(look, Math.min(left - WARNED_BEFORE, LONGEST_TIMER));
      return;
    }
    box.hidden = false;
    button.hidden = left <= 0;
    words.textContent = left > 0
      ? _("Your session ends at {time}.", { time: new Date(box.dataset.ends).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" }) })
      : _("Your session has ended. What you have typed stays here: send it, and the next page says how to sign in again.");
    if (left > 0) timer = setTimeout(look, left);
  };

  button.addEventListener("click", async () => {
    try {
      const answer = await fetch(box.dataset.renew, { method: "POST" });
      const { ends_at: ends } = await answer.json();
      const before = box.dataset.ends;
      box.dataset.ends = ends || new Date(0).toISOString();
      look();
      if (ends && ends <= before) {
        words.textContent += ` ${_("It cannot last longer: sign in again soon.")}`;
        button.hidden = true;
      }
    } catch { /* the daemon restarts perhaps; the button is there still */ }
  });

  document.addEventListener("visibilitychange", look);
  look();
})();
