// The page's texts; every language has the same keys.

const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const LANGUAGES = Object.keys(TEXTS);
const LANGUAGE_NAMES = { en: "English", es: "Español", "pt-BR": "Português" };

// The reader's preferred language among those available; any Portuguese counts as pt-BR.
function preferredLanguage() {
  for (const wish of navigator.languages ?? [navigator.language]) {
    const found = LANGUAGES.find((name) => name.split("-")[0] === wish.split("-")[0]);
    if (found) return found;
  }
  return "en";
}

function t(key, values = {}) {
  const text = TEXTS[state.language][key];
  if (text === undefined) throw new Error(`no text ${key} in ${state.language}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

// Values from marts that may be newer than this page are shown as they are.
function word(group, value) {
  if (value === null || value === undefined) return "–";
  return TEXTS[state.language][`${group}.${value}`] ?? value.replaceAll("_", " ");
}
