// Texts of the scripts in the page's language: `_("Copied.")`, `ngettext("{number} hour", "{number} hours", number)`.
// A page in English has no catalogue: the texts are English.
(() => {
  "use strict";

  const known = globalThis.almirantTexts || {};
  const language = document.documentElement.lang;
  const rule = new Intl.PluralRules(language);

  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

  const _ = (text, values = {}) => filled(known[text] || text, values);

  const ngettext = (single, several, number, values = {}) => {
    const forms = known[single] || [single, several];
    return filled(forms[rule.select(number) === "one" ? 0 : forms.length - 1], { number, ...values });
  };

  // Clocks as the reader has them: where a page is in another language than their browser, as that language has them.
  // Dates have words of the page's language, in the order of the reader's own country where they speak it.
  const own = navigator.languages.filter((name) => name.split("-")[0] === language);
  const locale = language === "en" ? navigator.languages : [...own, language];
  const dates = [...own, language === "en" ? "en-GB" : language];

  globalThis.almirant = { _, ngettext, locale, dates };
})();
