// Times as the reader's clock has them, or as UTC if they choose so; how long ago they were goes on by itself.
(() => {
  "use strict";

  const KEPT = "almirant-zone";
  const { _, ngettext, locale, dates } = globalThis.almirant;
  const COUNTS = [
    [86400, (number) => ngettext("{number} day", "{number} days", number)],
    [3600, (number) => ngettext("{number} hour", "{number} hours", number)],
    [60, (number) => _("{number} min", { number })],
    [0, (number) => _("{number} s", { number })],
  ];
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

  // A frame of another site may have no storage; then the choice lasts as long as the page.
  let chosen = "";
  try { chosen = localStorage.getItem(KEPT) || ""; } catch { /* no storage */ }
  const zone = () => (chosen === "utc" ? "UTC" : own);
  globalThis.almirant.zone = zone;

  const exact = (time) => `${time.dateTime.slice(0, 10)} ${time.dateTime.slice(11).replace("Z", "")} UTC`;

  const day = (moment) => new Intl.DateTimeFormat("en-CA", { timeZone: zone() }).format(moment);

  // "Today 17:41", "Yesterday 09:12", "24 Nov, 17:41", "24 Nov 2025, 17:41".
  const words = (moment, now) => {
    const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short", timeZone: zone() }).format(moment);
    if (day(moment) === day(now)) return _("Today {time}", { time: clock });
    if (day(moment) === day(new Date(now - 86400000))) return _("Yesterday {time}", { time: clock });
    const year = day(moment).slice(0, 4) === day(now).slice(0, 4) ? undefined : "numeric";
    const date = new Intl.DateTimeFormat(dates, { day: "numeric", month: "short", year, timeZone: zone() }).format(moment);
    return `${date}, ${clock}`;
  };

  const ago = (moment, now) => {
    const seconds = (now - moment) / 1000;
    const span = Math.abs(seconds);
    const [size, count] = COUNTS.find(([least]) => span >= least);
    const time = count(Math.floor(span / (size || 1)));
    if (seconds < 0) return span >= 1 ? _("in {time}", { time }) : _("now");
    return span >= 2 ? _("{time} ago", { time }) : _("just now");
  };

  // Nothing is written twice, and nothing that is being selected.
  const write = (time, text) => {
    const selection = getSelection();
    if (!time.firstChild || time.textContent === text || (selection && !selection.isCollapsed && selection.containsNode(time, true))) return;
    time.firstChild.data = text;
  };

  const show = () => {
    const now = new Date();
    for (const time of document.querySelectorAll("time[data-local]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(Number(moment))) continue; // a producer's year 0000
      write(time, words(moment, now));
      time.title = exact(time);
    }
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(Number(moment))) write(time, ago(moment, now));
    }
    for (const button of document.querySelectorAll("[data-copy-text]")) button.hidden = false;
  };

  const place = document.querySelector("[data-zone]");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link small";
  const showZone = () => {
    const name = own.replaceAll("_", " ");
    place.textContent = `${chosen === "utc" || own === "UTC" ? _("Times are UTC.") : _("Times are of {zone}.", { zone: name })} `;
    button.textContent = chosen === "utc" ? _("Show times of {zone}", { zone: name }) : _("Show UTC");
  };
  if (place) {
    button.addEventListener("click", () => {
      chosen = chosen === "utc" ? "" : "utc";
      try { localStorage.setItem(KEPT, chosen); } catch { /* no storage */ }
      showZone();
      show();
      document.dispatchEvent(new Event("zone"));
    });
    if (own !== "UTC") place.after(button);
    showZone();
  }
  // What is typed without a zone is UTC, as the service takes it: an ISO date is by itself, one with a time is not.
  const asUtc = (text) => (/^\d{4}-\d\d-\d\d[T ]\d\d:[\d:.]+$/.test(text) ? `${text.replace(" ", "T")}Z` : text);

  // A date to pick for a field: of the zone that the page shows, put into the field as UTC.
  for (const part of document.querySelectorAll("[data-picker]")) {
    const [open, pick] = [part.querySelector("button"), part.querySelector("input")];
    const field = document.getElementById(open.dataset.pick);
    part.hidden = !pick.showPicker;
    open.addEventListener("click", () => {
      // Firefox's calendar picks the date alone, and a field without a time would stay empty.
      const typed = new Date(/^\d{4}-/.test(field.value) ? asUtc(field.value.trim()) : Math.floor(Date.now() / 3600000) * 3600000);
      const moment = Number.isNaN(Number(typed)) ? new Date() : typed;
      const shift = chosen === "utc" ? 0 : moment.getTimezoneOffset() * 60000;
      pick.value = new Date(moment - shift).toISOString().slice(0, 16);
      pick.showPicker();
    });
    pick.addEventListener("change", () => {
      if (pick.value) field.value = new Date(pick.value + (chosen === "utc" ? "Z" : "")).toISOString().replace(/:00\.000Z$/, "Z");
      field.focus();
    });
  }
  document.addEventListener("shown", show);
  setInterval(show, 10000);
  show();
})();
