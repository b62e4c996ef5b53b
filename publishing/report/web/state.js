// The view is in the address after `#`: it can be shared, saved and gone back to, and nothing is
// stored in the browser.

const DATA = JSON.parse(document.getElementById("data").textContent);
for (const name of ["accounts", "unread", "targets", "answers"])
  if (DATA[name]) DATA[name] = unpacked(DATA[name]);
// Monday and answer times are marts that an older installation lacks.
const PAGES = [
  ...(DATA.monday ? ["monday"] : []),
  "overview",
  "campaigns",
  "creatives",
  "leads",
  "funnel",
  ...(DATA.answers ? ["answering"] : []),
  "cohorts",
  "health",
  "definitions",
];
const WINDOWS = [7, 14, 30, 90];
const PRESETS = [
  "1d",
  "7d",
  "14d",
  "30d",
  "90d",
  "month",
  "last_month",
  "quarter",
  "last_quarter",
  "all",
];
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

const yearOf = (day) =>
  Math.round(Date.UTC(new Date(day * DAY).getUTCFullYear(), 0, 1) / DAY);
const quarterOf = (day, offset = 0) => {
  const month = new Date(day * DAY).getUTCMonth();
  return monthOf(day, 3 * offset - (month % 3));
};

function presetRange(preset) {
  // Of the calendar, not of the last day read: on the first of a month, "last month" is the one that
  // has just ended.
  const upToRead = (start, end) => [start, Math.max(start, Math.min(end, LAST_DAY))];
  if (preset === "month") return upToRead(monthOf(AS_OF), AS_OF);
  if (preset === "last_month") return upToRead(monthOf(AS_OF, -1), monthOf(AS_OF) - 1);
  if (preset === "quarter") return upToRead(quarterOf(AS_OF), AS_OF);
  if (preset === "last_quarter") return upToRead(quarterOf(AS_OF, -1), quarterOf(AS_OF) - 1);
  if (preset === "all") return [FIRST_DAY, END_DAY];
  const days = Number.parseInt(preset, 10);
  return [LAST_DAY - days + 1, LAST_DAY];
}

const state = {};
// Filters by what leads and spend belong to: names in the address, and what they may be.
const FILTERS = ["channels", "accounts", "campaigns", "adsets", "ads", "numbers", "brands"];
const FILTER_NAMES = {
  channels: "channel",
  accounts: "account",
  campaigns: "campaign",
  adsets: "adset",
  ads: "ad",
  numbers: "number",
  brands: "brand",
};
// Single choices of a page: name in the address, choices, and the one that goes without saying.
const CHOICES = {
  within: [() => WINDOWS.map(String), "ever"],
  grain: [() => GRAINS, "auto"],
  against: [() => ["year"], "before"],
  by: [() => ["adset", "ad"], "campaign"],
  stage: [() => ["replied", "qualified", "won"], "all"],
  view: [() => COHORT_VIEWS, "rate"],
  board: [() => BOARD_WINDOWS.map(String), "auto"],
  theme: [() => ["light", "dark"], null],
};

// Of a period of centuries, which a typed address may ask for, what holds figures; or its end.
const LONGEST = 4000;
function shortened([from, to]) {
  if (to - from <= Math.max(LONGEST, END_DAY - FIRST_DAY)) return [from, to];
  const within = [Math.max(from, FIRST_DAY), Math.min(to, END_DAY)];
  return within[0] <= within[1] ? within : [to - LONGEST, to];
}

function readState() {
  const [, page = "", query = ""] = /^#?\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  const asked = new URLSearchParams(query);
  state.page = PAGES.includes(page) ? page : PAGES[0];
  state.preset = PRESETS.includes(asked.get("period")) ? asked.get("period") : null;
  const dates = ["from", "to"].map((name) => asked.get(name) ?? "");
  if (dates.every((date) => /^\d{4}-\d\d-\d\d$/.test(date) && !Number.isNaN(dayOf(date)))) {
    const [a, b] = dates.map(dayOf);
    state.range = shortened([Math.min(a, b), Math.max(a, b)]);
    state.preset = null;
  } else {
    state.preset = state.preset ?? "30d";
    state.range = presetRange(state.preset);
  }
  state.unknown = [];
  for (const name of FILTERS) {
    const values = asked.getAll(FILTER_NAMES[name]);
    const isKnownHere = (value) => KNOWN_VALUES[name]().has(value);
    state[name] = values.filter(isKnownHere);
    for (const value of values)
      if (!isKnownHere(value)) state.unknown.push(`${FILTER_NAMES[name]}=${value}`);
  }
  for (const [name, [choices, otherwise]] of Object.entries(CHOICES)) {
    state[name] = choices().includes(asked.get(name)) ? asked.get(name) : otherwise;
  }
  const language = asked.get("lang");
  state.language = LANGUAGES.includes(language) ? language : preferredLanguage();
  // How tables are sorted and searched: `sort.<table>=<column>` (`-` behind it: descending).
  state.tables = Object.fromEntries(
    [...asked].filter(([name]) => /^(sort|find)\.\w+$/.test(name)),
  );
}

// Values that a filter may have, read once: an address may be old or typed.
const KNOWN_VALUES = Object.fromEntries(
  FILTERS.map((name) => {
    let known = null;
    return [
      name,
      () => {
        known ??= new Set(Array.from({ length: ENTITIES.count }, (_, e) => ENTITY_KEYS[name](e)));
        return known;
      },
    ];
  }),
);

// The address of this view with some changes.
function address(changes = {}) {
  const next = { ...state, ...changes };
  const query = new URLSearchParams();
  if (!next.preset) {
    query.set("from", isoOf(next.range[0]));
    query.set("to", isoOf(next.range[1]));
  } else if (next.preset !== "30d") query.set("period", next.preset);
  for (const name of FILTERS)
    for (const value of next[name]) query.append(FILTER_NAMES[name], value);
  for (const [name, [, otherwise]] of Object.entries(CHOICES)) {
    if (next[name] !== otherwise) query.set(name, next[name]);
  }
  if (next.language !== preferredLanguage()) query.set("lang", next.language);
  for (const [name, value] of Object.entries(next.tables)) query.set(name, value);
  const text = query.toString();
  return `#/${next.page}${text ? `?${text}` : ""}`;
}

// Filters do not add to the browser's history; pages and what is clicked on are links and do.
function change(changes) {
  const next = address(changes);
  if (next === location.hash) return;
  location.replace(next);
}

// What a table knows of itself already: the address changes, nothing is drawn again.
function note(name, value) {
  if (value) state.tables[name] = value;
  else delete state.tables[name];
  history.replaceState(null, "", address());
}
