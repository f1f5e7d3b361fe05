// Comfort only: every page works without this file.
(() => {
  "use strict";

  const { _, ngettext } = globalThis.almirant;
  const say = (text) => { document.getElementById("said").textContent = text; };

  const comfort = (root) => {
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
    for (const box of root.querySelectorAll("[data-all]")) box.hidden = false;
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
      if (other === box || apart || other.disabled === box.checked) continue;
      if (box.checked) other.dataset.was = String(other.checked);
      other.disabled = box.checked;
      other.checked = box.checked || other.dataset.was === "true";
    }
    if (box.dataset.covers === "all" && !box.checked) {
      for (const family of within.querySelectorAll("[data-covers=family]:checked")) cover(family);
    }
  };

  const open = (radio) => {
    const chosen = radio.form.querySelector(`input[name="${radio.name}"]:checked`);
    const field = document.getElementById(radio.dataset.opens);
    field.hidden = field.disabled = chosen !== radio; // what is hidden is not sent
  };

  const count = (form) => {
    const button = form && form.querySelector("[data-chosen]");
    if (!button) return;
    const chosen = form.querySelectorAll("input[name=id]:checked").length;
    button.disabled = chosen === 0;
    button.textContent = chosen ? ngettext("Resend {number} selected", "Resend {number} selected", chosen) : _("Resend selected");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-text]");
    if (!button) return;
    const text = button.dataset.copyText ?? document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      if (!button.dataset.copy) { say(_("It cannot be copied here: {text}", { text })); return; }
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      document.execCommand("copy");
    }
    button.classList.add("is-done");
    say(_("Copied."));
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
      document.dispatchEvent(new Event("shown")); // its times are the reader's then
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
      const form = button.form; // the button goes with its row
      changeRows(button);
      form.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("[data-covers]")) cover(box);
    if (box.matches("input[type=radio]")) for (const one of box.form.querySelectorAll("[data-opens]")) open(one);
    if (box.matches("[data-all]")) for (const one of box.form.querySelectorAll("input[name=id]")) one.checked = box.checked;
    if (box.closest("[data-select]")) count(box.form);
  });

  // An answer to this page's forms takes the place of the page, below; without this script the service leads to it.
  document.addEventListener("formdata", (event) => event.formData.delete("unscripted"));

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-filters]")) {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
    }
  });

  comfort(document);
  document.querySelector(".notice[role=alert]")?.focus();
  // The answer to a form takes the place of its page, so that Back leads there: it cannot be had again without sending the form.
  const { place } = document.getElementById("main").dataset;
  if (place) history.replaceState(null, "", place);
  const url = new URL(location.href);
  if (url.searchParams.has("done")) {
    url.searchParams.delete("done");
    url.searchParams.delete("n");
    url.searchParams.delete("left");
    history.replaceState(null, "", url);
  }
  document.addEventListener("shown", () => comfort(document));
})();
