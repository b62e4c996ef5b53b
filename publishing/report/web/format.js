// Numbers, money and days in the reader's format. Unknown values are a dash, never 0.

const NOTHING = "–";
const formats = new Map();

function formatter(kind, options) {
  const name = `${locale()} ${kind} ${JSON.stringify(options)}`;
  if (!formats.has(name)) formats.set(name, new Intl[kind](locale(), options));
  return formats.get(name);
}

// The English of the reader's country, not always that of the United States.
function locale() {
  const wish = (navigator.languages ?? []).find((name) => name.startsWith(`${state.language}-`));
  return wish ?? state.language;
}

const isKnown = (value) => value !== null && value !== undefined && Number.isFinite(value);

function number(value, digits = 0) {
  const options = { maximumFractionDigits: digits };
  return isKnown(value) ? formatter("NumberFormat", options).format(value) : NOTHING;
}

function money(value, currency = DATA.currency, digits = 2) {
  if (!isKnown(value)) return NOTHING;
  const options = {
    style: "currency",
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  };
  return formatter("NumberFormat", options).format(value);
}

// For axes, where space is short.
function shortMoney(value) {
  const options = {
    style: "currency",
    currency: DATA.currency,
    notation: "compact",
    maximumFractionDigits: 1,
    minimumFractionDigits: 0,
  };
  return isKnown(value) ? formatter("NumberFormat", options).format(value) : NOTHING;
}

function percent(value, digits = 1) {
  const options = {
    style: "percent",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  };
  return isKnown(value) ? formatter("NumberFormat", options).format(value) : NOTHING;
}

function signedPercent(value) {
  const options = { style: "percent", maximumFractionDigits: 0, signDisplay: "exceptZero" };
  return isKnown(value) ? formatter("NumberFormat", options).format(value) : NOTHING;
}

function date(day, options = { day: "numeric", month: "short", year: "numeric" }) {
  if (!isKnown(day)) return NOTHING;
  return formatter("DateTimeFormat", { ...options, timeZone: "UTC" }).format(new Date(day * DAY));
}

function span([from, to]) {
  const options = { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" };
  return formatter("DateTimeFormat", options).formatRange(new Date(from * DAY), new Date(to * DAY));
}

function instant(iso) {
  if (!iso) return NOTHING;
  const options = { dateStyle: "medium", timeStyle: "short", timeZone: DATA.timezone };
  return formatter("DateTimeFormat", options).format(new Date(iso));
}

function bucketName(start, grain) {
  if (grain === "month") return date(start, { month: "short", year: "numeric" });
  if (grain === "year") return date(start, { year: "numeric" });
  return date(start, { day: "numeric", month: "short" });
}

const ratio = (over, under) => (under > 0 ? over / under : null);
// No cost, no price: 0.00 would rank as the cheapest.
const costOf = (spend, people) => (spend === 0 ? null : ratio(spend, people));
