// The view is in the address after `#`: it can be shared, saved and gone back to, and nothing is
// stored in the browser.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGES = ["overview", "campaigns", "creatives", "cohorts", "health", "definitions"];
const WINDOWS = [7, 14, 30, 90];
const PRESETS = ["7d", "30d", "90d", "month", "last_month", "all"];
const GRAINS = ["day", "week", "month"];
const DAY = 86400000;

const dayOf = (iso) => Math.round(Date.parse(`${iso}T00:00:00Z`) / DAY);
const isoOf = (day) => new Date(day * DAY).toISOString().slice(0, 10);
const AS_OF = dayOf(DATA.as_of);
// The day of the publication is not over. A period ends with the last day that was read completely
// for every account with spend: unread days would look cheap.
const LAST_DAY = Math.min(
  AS_OF - 1,
  ...DATA.unread
    .filter((one) => one.trailing && one.reason !== "never_read")
    .map((one) => one.from - 1),
);

function monthOf(day, offset = 0) {
  const date = new Date(day * DAY);
  return Math.round(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + offset, 1) / DAY);
}

function presetRange(preset) {
  if (preset === "month") return [monthOf(LAST_DAY), LAST_DAY];
  if (preset === "last_month") return [monthOf(LAST_DAY, -1), monthOf(LAST_DAY) - 1];
  if (preset === "all") return [FIRST_DAY, END_DAY];
  const days = Number.parseInt(preset, 10);
  return [LAST_DAY - days + 1, LAST_DAY];
}

const state = {};

function readState() {
  const [, page = "", query = ""] = /^#?\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  const asked = new URLSearchParams(query);
  const listed = (name, known) =>
    (asked.get(name) ?? "").split(",").filter((v) => known.includes(v));
  const one = (name, known, otherwise) =>
    known.includes(asked.get(name)) ? asked.get(name) : otherwise;
  state.page = PAGES.includes(page) ? page : "overview";
  state.preset = one("period", PRESETS, null);
  const dates = ["from", "to"].map((name) => asked.get(name) ?? "");
  if (dates.every((date) => /^\d{4}-\d\d-\d\d$/.test(date) && !Number.isNaN(dayOf(date)))) {
    const [a, b] = dates.map(dayOf);
    state.range = [Math.min(a, b), Math.max(a, b)];
    state.preset = null;
  } else {
    state.preset = state.preset ?? "30d";
    state.range = presetRange(state.preset);
  }
  state.channels = listed("channel", CHANNELS);
  state.accounts = listed(
    "account",
    ACCOUNTS.map((account) => account.key),
  );
  state.within = one("within", WINDOWS.map(String), "ever");
  state.grain = one("grain", GRAINS, "auto");
  state.language = one("lang", LANGUAGES, preferredLanguage());
  state.theme = one("theme", ["light", "dark"], null);
}

// The address of this view with some changes.
function address(changes = {}) {
  const next = { ...state, ...changes };
  const query = new URLSearchParams();
  if (!next.preset) {
    query.set("from", isoOf(next.range[0]));
    query.set("to", isoOf(next.range[1]));
  } else if (next.preset !== "30d") query.set("period", next.preset);
  if (next.channels.length) query.set("channel", next.channels.join(","));
  if (next.accounts.length) query.set("account", next.accounts.join(","));
  if (next.within !== "ever") query.set("within", next.within);
  if (next.grain !== "auto") query.set("grain", next.grain);
  if (next.language !== preferredLanguage()) query.set("lang", next.language);
  if (next.theme) query.set("theme", next.theme);
  const text = query.toString();
  return `#/${next.page}${text ? `?${text}` : ""}`;
}

// Filters do not add to the browser's history; pages are links and do.
function change(changes) {
  const next = address(changes);
  if (next === location.hash) return;
  location.replace(next);
}
