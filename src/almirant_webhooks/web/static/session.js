// Warns before a session ends, and lets it go on at a button. What is typed stays on the page.
(() => {
  "use strict";

  const { _, locale, zone } = globalThis.almirant;
  const WARNED_BEFORE = 10 * 60 * 1000;
  const ASKED_EVERY = 10 * 1000;
  const LONGEST_TIMER = 2 ** 31 - 1;
  const box = document.getElementById("session-end");
  if (!box) return;
  const words = box.querySelector("span");
  const button = box.querySelector("button");
  let timer = null;
  let isLast = false; // it cannot last longer

  const rest = () => new Date(box.dataset.ends) - Date.now();

  // Another tab makes the session last longer too; this look itself does not.
  const ask = async () => {
    if (document.hidden) return; // it asks once somebody looks
    try {
      const answer = await fetch(box.dataset.session, { cache: "no-store", signal: AbortSignal.timeout(ASKED_EVERY) });
      const { ends_at: ends } = await answer.json();
      if (!ends || ends <= box.dataset.ends) return;
      box.dataset.ends = ends;
      isLast = false;
    } catch { /* the daemon restarts perhaps; what is known stands */ }
  };

  const sentence = (left) => {
    if (left <= 0) return _("Your session has ended. What you have typed stays here: send it, and the next page says how to sign in again.");
    const time = new Date(box.dataset.ends).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", timeZone: zone() });
    const ends = _("Your session ends at {time}.", { time });
    return isLast ? `${ends} ${_("It cannot last longer: sign in again soon.")}` : ends;
  };

  const show = () => {
    clearTimeout(timer);
    const left = rest();
    box.hidden = left > WARNED_BEFORE;
    if (box.hidden) {
      timer = setTimeout(look, Math.min(left - WARNED_BEFORE, LONGEST_TIMER));
      return;
    }
    button.hidden = isLast || left <= 0;
    const text = sentence(left);
    if (words.textContent !== text) words.textContent = text; // what changes is read out
    if (left > 0) timer = setTimeout(look, Math.min(left, ASKED_EVERY));
  };

  const look = async () => {
    if (rest() <= WARNED_BEFORE) await ask();
    show();
  };

  button.addEventListener("click", async () => {
    try {
      const answer = await fetch(`${box.dataset.session}/renew`, { method: "POST" });
      const { ends_at: ends } = await answer.json();
      isLast = Boolean(ends) && ends <= box.dataset.ends;
      box.dataset.ends = ends || new Date(0).toISOString();
      show();
    } catch { /* the daemon restarts perhaps; the button is there still */ }
  });

  document.addEventListener("visibilitychange", look);
  document.addEventListener("zone", show);
  look();
})();
