// Keeps a page up to date, and leaves to its reader what is theirs: place, focus, selection, and what they have opened.
(() => {
  "use strict";

  const { _, ngettext } = globalThis.almirant;
  const EVERY = 4000; // milliseconds between two looks
  const PATIENCE = 15000; // for an answer
  const ROW = "tr, li, article";
  const READERS = new Set(["open", "checked", "value", "selected"]); // attributes that the reader changes
  const main = document.getElementById("main");
  // The answer to a form is not looked at again: its page does not say what was just shown.
  if (!main.querySelector("[data-live]") || main.dataset.place) return;

  // The page as the server last sent it. What differs from it in the next answer has changed; all else is left alone,
  // so what the reader and the other script have made of the page stays. It has the same nodes as `main`, in the same order.
  const known = main.cloneNode(true);
  let mark = main.dataset.mark || "";
  let waiting = null; // an answer of which some rows are held back
  let changes = 0; // forms that were sent from here
  let leaving = false;
  let paused = false;
  let timer = 0;

  // `id` of a form is its field of that name.
  const idOf = (node) => node.getAttribute("id") || "";

  const isRow = (node) => node.nodeType === Node.ELEMENT_NODE && node.matches(ROW) && rowKey(node) !== "";

  const rowKey = (row) => {
    const inner = idOf(row) ? row : row.querySelector("[id], a[href]");
    return inner ? idOf(inner) || inner.getAttribute("href") : "";
  };

  // By which a node is found again among its siblings: a row by its id or link, a text by what stands before it.
  const name = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return `${node.nodeName} after ${node.previousSibling ? name(node.previousSibling) : ""}`;
    if (isRow(node)) return `${node.nodeName} ${rowKey(node)}`;
    return [node.nodeName, idOf(node), node.dataset.live, node.getAttribute("aria-labelledby"), node.classList[0]].join(" ");
  };

  const isSelected = (node) => {
    const selection = getSelection();
    return Boolean(selection) && !selection.isCollapsed && selection.containsNode(node, true);
  };

  // Rows are held back while something is selected, or the top of their list is above the window.
  const isHolding = () => isSelected(main) || main.querySelector("input[name=id]:checked") !== null
    || [...main.querySelectorAll("[data-live] :is(tbody, ul, ol)")].some((list) => list.getBoundingClientRect().top < 0);

  const attributes = (live, before, after) => {
    const isReaders = (attribute) => READERS.has(attribute) && live.type !== "hidden" && live.localName !== "progress";
    for (const { name: attribute, value } of [...after.attributes]) {
      if (before.getAttribute(attribute) === value) continue;
      before.setAttribute(attribute, value);
      if (!isReaders(attribute)) live.setAttribute(attribute, value);
    }
    for (const { name: attribute } of [...before.attributes]) {
      if (after.hasAttribute(attribute)) continue;
      before.removeAttribute(attribute);
      if (!isReaders(attribute)) live.removeAttribute(attribute);
    }
  };

  // Makes of `live`, and of `before`, which is what it was sent as, what `after` is. Counts the rows that it held back.
  const merge = (live, before, after, held) => {
    if (before.isEqualNode(after)) return;
    if (live.nodeType !== Node.ELEMENT_NODE) {
      if (isSelected(live)) held.rest = true;
      else live.data = before.data = after.data;
      return;
    }
    if (live !== main) attributes(live, before, after);
    children(live, before, after, held);
  };

  const children = (live, before, after, held) => {
    const places = new Map();
    [...before.childNodes].forEach((node, at) => {
      const key = name(node);
      places.set(key, [...(places.get(key) || []), [live.childNodes[at], node]]);
    });
    const pairs = [...after.childNodes].map((node) => [node, ...(places.get(name(node))?.shift() || [null, null])]);
    const gone = [...places.values()].flat().filter(([node]) => !stays(node, held));
    if (gone.some(([node]) => isSelected(node))) { held.rest = true; return; } // later
    for (const [node, copy] of gone) { node.remove(); copy.remove(); }
    let at = live.firstChild;
    let copyAt = before.firstChild;
    const isNew = pairs.map(([node, old]) => old === null && isHeldRow(node, held));
    if (isNew.some(Boolean)) held.all ||= pairs.every(([node, old]) => old === null || !isRow(node));
    pairs.forEach(([node, old, copy], index) => {
      if (isNew[index]) { if (isRow(node)) held.rows += 1; held.rest = true; return; }
      while (at && at !== old && !pairs.some(([, other]) => other === at)) { at = at.nextSibling; copyAt = copyAt.nextSibling; }
      if (old === null) {
        live.insertBefore(document.importNode(node, true), at);
        before.insertBefore(node.cloneNode(true), copyAt);
      } else if (old === at) {
        at = at.nextSibling;
        copyAt = copyAt.nextSibling;
      } else if (isHeldRow(node, held)) {
        held.rest = true; // it moves later
      } else {
        live.insertBefore(old, at);
        before.insertBefore(copy, copyAt);
      }
      if (old !== null) merge(old, copy, node, held);
    });
  };

  // A row, or the white space behind it.
  const isHeldRow = (node, held) => held.holds && (isRow(node) || (node.nodeType === Node.TEXT_NODE && node.previousSibling !== null && isRow(node.previousSibling)));

  const stays = (node, held) => {
    const isThere = node.nodeType === Node.ELEMENT_NODE ? node : node.previousElementSibling;
    if (isThere?.matches("[data-stays]")) return true;
    if (isHeldRow(node, held)) { held.rest = true; return true; }
    return false;
  };

  const show = (page, holds) => {
    const fresh = page.getElementById("main");
    if (!fresh) return;
    const held = { holds, rows: 0, all: false, rest: false };
    const focused = document.activeElement;
    merge(main, known, fresh, held);
    if (focused !== document.activeElement && main.contains(focused)) focused.focus({ preventScroll: true });
    document.title = page.title;
    waiting = held.rest ? page : null;
    announce(held);
    document.dispatchEvent(new Event("shown"));
  };

  const say = (text) => { document.getElementById("said").textContent = text; };

  const more = document.createElement("button");
  more.type = "button";
  more.className = "button primary new-rows";
  more.hidden = true;
  more.addEventListener("click", () => {
    const list = main.querySelector("[data-live] :is(tbody, ul, ol)");
    if (waiting) show(waiting, false);
    list?.scrollIntoView({ block: "center" });
    list?.querySelector("a[href], button")?.focus({ preventScroll: true });
  });

  const announce = ({ rows, all }) => {
    const text = all
      ? ngettext("{number} or more new", "{number} or more new", rows)
      : ngettext("{number} new", "{number} new", rows);
    if (rows && more.hidden) say(`${text}. ${_("They are shown at a button at the end of the page.")}`);
    more.textContent = text;
    more.hidden = rows === 0;
  };

  const bar = document.createElement("section");
  bar.className = "connection";
  bar.setAttribute("aria-label", _("Connection"));
  bar.hidden = true;
  let seenAt = new Date();

  // Says in place why the page does not change any more; an empty text: it does again.
  const tell = (text, ...nodes) => {
    if (text && (bar.hidden || !bar.textContent.startsWith(text))) say(text);
    if (!text && !bar.hidden) say(_("Connected again."));
    if (text && bar.textContent.startsWith(text)) return;
    bar.replaceChildren(text, ...nodes);
    bar.hidden = !text;
    document.dispatchEvent(new Event("shown"));
  };

  const asOf = () => {
    const time = document.createElement("time");
    time.dateTime = seenAt.toISOString();
    time.dataset.local = "";
    time.textContent = time.dateTime.slice(0, 19).replace("T", " ");
    const [before, after] = _("What you see is of {time}.").split("{time}");
    return [` ${before}`, time, after];
  };

  // Returns whether to look again.
  const look = async () => {
    const begun = changes;
    let answer, text;
    try {
      const headers = { "X-Live": "1", "If-None-Match": `"${mark}"` };
      answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      text = await answer.text();
    } catch {
      if (!leaving) tell(_("Not connected."), ...asOf(), ` ${_("It looks again every few seconds.")}`);
      return true;
    }
    if (leaving || paused || begun !== changes) return true;
    if (answer.status === 405) return false; // the answer to a form: there is nothing to look at again
    if (answer.redirected || answer.status === 401 || answer.status === 403) {
      const link = document.createElement("a");
      link.href = location.href;
      link.textContent = _("Sign in again");
      tell(_("You are signed out."), " ", link, ".", ...asOf());
      return false;
    }
    if (answer.status === 404) { tell(_("This is not there any more."), ...asOf()); return false; }
    if (answer.status !== 304 && !answer.ok) { tell(_("The service cannot answer at the moment."), ...asOf()); return true; }
    tell("");
    seenAt = new Date();
    if (answer.status === 304) { if (waiting) show(waiting, isHolding()); return true; }
    mark = (answer.headers.get("ETag") || "").slice(1, -1);
    show(new DOMParser().parseFromString(text, "text/html"), isHolding());
    return true;
  };

  const lookOn = async () => {
    clearTimeout(timer);
    timer = 0;
    if (!paused && !leaving && !document.hidden && !(await look())) { button.remove(); return; }
    clearTimeout(timer);
    timer = setTimeout(lookOn, EVERY);
  };

  const inPlace = async (form) => {
    changes += 1;
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const place = new URL(answer.url);
    if (!answer.ok) throw new Error(answer.statusText); // sent again as a form, its answer is shown
    if (place.pathname !== location.pathname) { location.href = answer.url; return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    changes += 1;
    mark = ""; // the notice is in this answer alone
    const notice = page.querySelector("main .notice");
    show(page, isHolding());
    if (notice) say(notice.textContent);
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-in-place]") && form.closest("[data-live]")) {
      event.preventDefault();
      inPlace(form).catch(() => { leaving = true; form.submit(); });
    } else leaving = true; // the keys of its form stay until the answer is there
  });
  addEventListener("pageshow", () => { leaving = false; });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && timer) lookOn(); });
  addEventListener("online", () => { if (timer) lookOn(); });

  const button = document.createElement("button");
  button.type = "button";
  button.className = "live small";
  const showPaused = () => {
    button.textContent = paused ? _("Paused · go on") : _("Live · pause");
    button.setAttribute("aria-pressed", String(paused));
  };
  button.addEventListener("click", () => {
    paused = !paused;
    showPaused();
    if (!paused && timer) lookOn();
  });
  showPaused();
  const foot = document.querySelector(".foot");
  foot.prepend(button);
  foot.append(more);
  foot.after(bar);
  timer = setTimeout(lookOn, EVERY);
})();
