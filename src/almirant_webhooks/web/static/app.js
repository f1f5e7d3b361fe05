// Comfort only: every page works without this file.
(() => {
  "use strict";

  const say = (text) => { document.getElementById("said").textContent = text; };
  const LIVE_EVERY = 4000;

  const comfort = (root) => {
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
    for (const box of root.querySelectorAll("[data-all]")) box.hidden = false;
    for (const time of root.querySelectorAll("time[data-local]")) {
      time.title = `${new Date(time.dateTime).toLocaleString()} here`;
    }
    for (const box of root.querySelectorAll("[data-covers]:checked")) cover(box);
    for (const radio of root.querySelectorAll("[data-opens]")) open(radio);
    for (const button of root.querySelectorAll("[data-add-row], [data-remove-row]")) button.hidden = false;
    count(root.querySelector("[data-select]"));
  };

  // A filter's rows: another one is a copy of the last, emptied; the last that is left is emptied, not removed.
  const changeRows = (button) => {
    const within = button.closest("fieldset").querySelector("[data-rows]");
    const rows = [...within.querySelectorAll("[data-row]")];
    const row = button.closest("[data-row]") || rows.at(-1).cloneNode(true);
    if (button.matches("[data-remove-row]") && rows.length > 1) row.remove();
    else {
      for (const input of row.querySelectorAll("input")) input.value = "";
      row.querySelector("select").selectedIndex = 0;
      within.append(row);
    }
    within.querySelectorAll("[data-row]").forEach((one, at) => {
      for (const field of one.querySelectorAll("[aria-label]")) field.setAttribute("aria-label", field.getAttribute("aria-label").replace(/\d+$/, at + 1));
    });
    within.querySelector("[data-row]:last-child input").focus();
  };

  // A whole family takes its single types in: they are shown as chosen and cannot be changed beside it.
  const cover = (box) => {
    const within = box.dataset.covers === "all" ? box.form : box.closest(".family");
    for (const other of within.querySelectorAll("input[name=events]")) {
      const apart = box.dataset.covers === "all" && other.closest("[data-apart]");
      if (other !== box && !apart) other.disabled = box.checked;
    }
    if (box.dataset.covers === "all" && !box.checked) {
      for (const family of within.querySelectorAll("[data-covers=family]:checked")) cover(family);
    }
  };

  const open = (radio) => {
    const chosen = radio.form.querySelector(`input[name="${radio.name}"]:checked`);
    document.getElementById(radio.dataset.opens).hidden = chosen !== radio;
  };

  const count = (form) => {
    const button = form && form.querySelector("[data-chosen]");
    if (!button) return;
    const chosen = form.querySelectorAll("input[name=id]:checked").length;
    button.disabled = chosen === 0;
    button.textContent = chosen ? `${button.dataset.chosen} ${chosen} selected` : `${button.dataset.chosen} selected`;
  };

  // Puts the live regions of a fetched page in place of this page's, keeping what is chosen, open and focused.
  const replace = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    let done = false;
    for (const old of document.querySelectorAll("[data-live]")) {
      const made = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
      if (!made) continue;
      done = true;
      const chosen = new Set([...old.querySelectorAll("input[name=id]:checked")].map((box) => box.value));
      for (const box of made.querySelectorAll("input[name=id]")) box.checked = chosen.has(box.value);
      const opened = [...old.querySelectorAll("details")].map((one) => one.open);
      const fewer = made.querySelectorAll("details").length - opened.length;
      if (fewer === 0) made.querySelectorAll("details").forEach((one, at) => { one.open = opened[at]; });
      const focused = old.contains(document.activeElement) ? key(document.activeElement) : null;
      old.replaceChildren(...made.childNodes);
      if (focused) [...old.querySelectorAll("a, button, input, summary, pre")].find((one) => key(one) === focused)?.focus();
    }
    comfort(document);
    return done ? fresh : null;
  };

  const key = (one) => [one.tagName, one.getAttribute("href"), one.value, one.getAttribute("aria-label"), one.id, one.closest("li")?.id].join(" ");

  const inPlace = async (form) => {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const place = new URL(answer.url);
    if (!answer.ok) throw new Error(answer.statusText); // sent again as a form, its answer is shown
    if (place.pathname !== location.pathname) { location.href = answer.url; return; }
    const fresh = replace(await answer.text());
    const notice = fresh?.querySelector(".notice");
    if (notice) say(notice.textContent);
    if (!document.querySelector("[data-live] form[data-in-place]")) location.href = answer.url;
  };

  let live = true;
  const refresh = async () => {
    if (live && !document.hidden && !getSelection().toString()) {
      try {
        const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
        if (answer.status === 405) return; // the answer to a form: there is nothing to look at again
        if (answer.redirected || answer.status === 401 || answer.status === 403) { location.reload(); return; }
        if (live && answer.ok) replace(await answer.text());
      } catch { /* the daemon restarts perhaps; the next look tells */ }
    }
    setTimeout(refresh, LIVE_EVERY);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      document.execCommand("copy");
    }
    button.classList.add("is-done");
    say("Copied.");
    setTimeout(() => button.classList.remove("is-done"), 1500);
  });

  // What the settings that are typed would send, once a moment has passed without a key; an older answer is dropped.
  let typing = null;
  let asked = null;
  const preview = async (form) => {
    const region = form.querySelector("[data-preview]");
    asked?.abort();
    asked = new AbortController();
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(region.querySelector("[formaction]").formAction, { method: "POST", body, signal: asked.signal });
      const made = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-preview]");
      if (made) region.replaceChildren(...made.childNodes);
    } catch { /* the next key asks again */ }
  };

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form");
    if (!form?.querySelector("[data-preview]")) return;
    clearTimeout(typing);
    typing = setTimeout(preview, 400, form);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-add-row], [data-remove-row]");
    if (button) {
      changeRows(button);
      button.form.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("[data-covers]")) cover(box);
    if (box.matches("input[type=radio]")) for (const one of box.form.querySelectorAll("[data-opens]")) open(one);
    if (box.matches("[data-all]")) for (const one of box.form.querySelectorAll("input[name=id]")) one.checked = box.checked;
    if (box.closest("[data-select]")) count(box.form);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-in-place]") && form.closest("[data-live]")) {
      event.preventDefault();
      inPlace(form).catch(() => form.submit());
    } else if (form.matches("[data-filters]")) {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
    }
  });

  comfort(document);
  document.querySelector(".notice[role=alert]")?.focus();
  const url = new URL(location.href);
  if (url.searchParams.has("done")) {
    url.searchParams.delete("done");
    url.searchParams.delete("n");
    history.replaceState(null, "", url);
  }
  const region = document.querySelector("[data-live]");
  if (region) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "live small";
    const show = () => { button.textContent = live ? "Live · pause" : "Paused · go on"; button.setAttribute("aria-pressed", String(!live)); };
    button.addEventListener("click", () => { live = !live; show(); });
    show();
    document.querySelector(".foot").prepend(button);
    setTimeout(refresh, LIVE_EVERY);
  }
})();
