// The facts as arrays. Where the history is long, older days are kept by week, month or year
// (publishing/report/zones.py): a level is a list of zones, oldest first.

function wordsOf(column) {
  return column.i.map((index) => (index < 0 ? null : column.w[index]));
}

// Rows of a table that came as columns (columns.py: packed).
function unpacked(table) {
  const columns = Object.entries(table).map(([name, column]) => [
    name,
    Array.isArray(column) ? column : wordsOf(column),
  ]);
  const [, first] = columns[0] ?? [null, []];
  return first.map((_, at) =>
    Object.fromEntries(columns.map(([name, values]) => [name, values[at]])),
  );
}

// A column of numbers; a null makes every sum that includes it unknown.
function numbersOf(column) {
  const sparse = Array.isArray(column.i);
  const values = sparse ? column.v : (column.v ?? column);
  const made = new Float64Array(sparse ? column.n : values.length);
  let at = 0;
  for (let k = 0; k < values.length; k += 1) {
    at = sparse ? at + column.i[k] : k;
    made[at] = values[k] === null ? Number.NaN : values[k];
  }
  return made;
}

const unitOf = (column) => 10 ** (column.s ?? 0);

const AMOUNTS = ["spend", "won_value", "message_cost"];
const COUNTS = ["impressions", "clicks", "conversations", "leads", "replied", "qualified", "won"];
// What platforms report; it cannot be told apart by business number or brand.
const OF_PLATFORM = ["spend", "impressions", "clicks", "conversations"];

function zoneOf(raw) {
  const entity = new Int32Array(raw.rows);
  const periods = new Int32Array(raw.periods.length);
  const starts = new Int32Array(raw.periods.length + 1);
  let row = 0;
  for (let p = 0, day = 0; p < periods.length; p += 1) {
    day += raw.periods[p];
    periods[p] = day;
    for (let last = 0, end = row + raw.rows_in[p]; row < end; row += 1) {
      last += raw.entity[row];
      entity[row] = last;
    }
    starts[p + 1] = row;
  }
  const names = [...AMOUNTS, ...COUNTS];
  const columns = Object.fromEntries(names.map((name) => [name, numbersOf(raw[name])]));
  const ageStarts = new Int32Array(raw.rows + 1);
  for (let r = 0; r < raw.rows; r += 1) ageStarts[r + 1] = ageStarts[r] + columns.qualified[r];
  return {
    grain: raw.grain,
    from: raw.from,
    to: raw.to,
    periods,
    starts,
    entity,
    columns,
    units: Object.fromEntries(names.map((name) => [name, unitOf(raw[name])])),
    ages: raw.ages === undefined ? null : agesOf(raw.ages, ageStarts),
    ageStarts,
    within: new Map(
      Object.entries(raw.within ?? {}).map(([days, column]) => [Number(days), numbersOf(column)]),
    ),
  };
}

// Ages as they are written (zones.py): steps within a row, one character for most, three for many
// leads of the same age.
const AGE_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
function agesOf(text, starts) {
  const made = new Int32Array(starts[starts.length - 1]);
  const values = new Int32Array(128);
  const two = (place) => values[text.charCodeAt(place)] * 62 + values[text.charCodeAt(place + 1)];
  for (let d = 0; d < AGE_DIGITS.length; d += 1) values[AGE_DIGITS.charCodeAt(d)] = d;
  let at = 0;
  for (let row = 0; row < starts.length - 1; row += 1) {
    for (let k = starts[row], age = 0; k < starts[row + 1];) {
      if (text[at] === ".") {
        const end = k + two(at + 1);
        made.fill(age, k, end);
        k = end;
        at += 3;
        continue;
      }
      age += text[at] === "-" ? two(at + 1) : values[text.charCodeAt(at)];
      at += text[at] === "-" ? 3 : 1;
      made[k] = age;
      k += 1;
    }
  }
  return made;
}

// Qualified leads of each row within so many days of the first touch; where days are not kept, they
// are counted already.
function qualifiedWithin(zone, days) {
  if (!zone.within.has(days)) {
    const made = new Float64Array(zone.entity.length);
    for (let r = 0; r < made.length; r += 1) made[r] = youngIn(zone, r, days);
    zone.within.set(days, made);
  }
  return zone.within.get(days);
}

function youngIn(zone, row, days) {
  let count = 0;
  for (let k = zone.ageStarts[row]; k < zone.ageStarts[row + 1]; k += 1) {
    if (zone.ages[k] <= days) count += 1;
  }
  return count;
}

const LEVEL_NAMES = ["ad", "campaign", "total"];
const LEVELS = (() => {
  const made = {};
  let below = [];
  for (const name of LEVEL_NAMES) {
    const own = DATA.facts[name].map(zoneOf);
    const end = own.length ? own[own.length - 1].to : Number.NEGATIVE_INFINITY;
    made[name] = [...own, ...below.filter((zone) => zone.from >= end)];
    below = made[name];
  }
  return made;
})();

const ENTITIES = (() => {
  const raw = DATA.facts.entities;
  const texts = ["platform", "campaign", "ad", "channel", "number", "brand"];
  return {
    level: raw.level,
    account: raw.account,
    count: raw.level.length,
    ...Object.fromEntries(texts.map((name) => [name, wordsOf(raw[name])])),
  };
})();

const LAST_ZONE = LEVELS.ad[LEVELS.ad.length - 1];
const FIRST_FACT = LEVELS.total[0]?.from ?? LAST_DAY;
const FIRST_DAY = Math.min(FIRST_FACT, LAST_DAY);
const END_DAY = Math.max(AS_OF, LAST_ZONE?.periods[LAST_ZONE.periods.length - 1] ?? AS_OF);
const CHANNELS = [...new Set(ENTITIES.channel)].filter(Boolean).sort();
const NUMBERS = [...new Set(ENTITIES.number)].filter(Boolean).sort();
const BRANDS = [...new Set(ENTITIES.brand)].filter(Boolean).sort();
// Leads without an account can be chosen as well: nothing disappears (rule R12).
const ACCOUNTS = [
  ...DATA.accounts.map((account) => ({ ...account, key: `${account.platform}:${account.id}` })),
  { key: "none", platform: null, id: null, name: null },
];
const NO_ACCOUNT = ACCOUNTS.length - 1;
const accountAt = (index) => ACCOUNTS[index < 0 ? NO_ACCOUNT : index];

// First day of the period that holds `day`, and the day after its end.
function periodAround(zone, day) {
  if (zone.grain === "day") return [day, day + 1];
  const start = startOf[zone.grain](day);
  return [Math.max(start, zone.from), Math.min(nextStart(start, zone.grain), zone.to)];
}

function nextStart(start, grain) {
  if (grain === "day") return start + 1;
  if (grain === "week") return start + 7;
  return monthOf(start, grain === "month" ? 1 : 12);
}

// The range in whole periods of a level: wider where days are not kept, never past `last`.
function wholePeriods([from, to], level, last = Number.POSITIVE_INFINITY) {
  let [first, end] = [from, to + 1];
  for (const zone of LEVELS[level]) {
    if (from >= zone.from && from < zone.to) [first] = periodAround(zone, from);
    if (to >= zone.from && to < zone.to) {
      const [start, after] = periodAround(zone, to);
      end = after - 1 > last ? start : after;
    }
  }
  return [first, end - 1];
}

// Rows of zones of a table (zones.py) whose whole period is in the range, and the range that they
// cover: wider where days are not kept.
function rowsInRange(zones, [from, to]) {
  const rows = [];
  let covered = [from, to];
  for (const zone of zones) {
    if (zone.to <= from || zone.from > to) continue;
    const first = from >= zone.from ? periodAround(zone, from)[0] : zone.from;
    const after = to < zone.to ? periodAround(zone, to)[1] : zone.to;
    covered = [Math.min(covered[0], first), Math.max(covered[1], after - 1)];
    zone.day.forEach((day, at) => {
      if (day >= first && day < after) rows.push([zone, at]);
    });
  }
  return { rows, covered };
}

const hasDaysOf = ([from, to], level) =>
  LEVELS[level].every((zone) => zone.grain === "day" || zone.from > to || zone.to <= from);
