// The facts as arrays, and sums over them. Every ratio on the page is a sum over a sum (rule R11).

function wordsOf(column) {
  return column.i.map((index) => (index < 0 ? null : column.w[index]));
}

// A column of numbers; a null one makes every sum with it unknown.
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

const FACTS = (() => {
  const raw = DATA.facts;
  const entity = new Int32Array(raw.rows);
  const days = new Int32Array(raw.days.length);
  const starts = new Int32Array(raw.days.length + 1);
  let row = 0;
  for (let d = 0, day = 0; d < days.length; d += 1) {
    day += raw.days[d];
    days[d] = day;
    for (let last = 0, end = row + raw.per_day[d]; row < end; row += 1) {
      last += raw.entity[row];
      entity[row] = last;
    }
    starts[d + 1] = row;
  }
  const names = ["spend", "won_value", "impressions", "clicks", "conversations", "leads", "won",
    "qualified", ...WINDOWS.map((days) => `qualified_${days}d`)];
  const columns = Object.fromEntries(names.map((name) => [name, numbersOf(raw[name])]));
  const units = Object.fromEntries(names.map((name) => [name, unitOf(raw[name])]));
  const entities = {
    account: raw.entities.account,
    ...Object.fromEntries(["platform", "campaign", "ad", "channel"].map((n) => [n, wordsOf(raw.entities[n])])),
  };
  return { rows: raw.rows, entity, days, starts, columns, units, entities, count: entities.account.length };
})();

const FIRST_DAY = FACTS.days.length ? Math.min(FACTS.days[0], LAST_DAY) : LAST_DAY;
const CHANNELS = [...new Set(FACTS.entities.channel)].filter(Boolean).sort();
// Leads without an account are a choice of their own: nothing disappears (rule R12).
const ACCOUNTS = [
  ...DATA.accounts.map((account) => ({ ...account, key: `${account.platform}:${account.id}` })),
  { key: "none", platform: null, id: null, name: null },
];
const NO_ACCOUNT = ACCOUNTS.length - 1;
const accountAt = (index) => ACCOUNTS[index < 0 ? NO_ACCOUNT : index];

// Which entities the filters let through.
function chosenEntities() {
  const mask = new Uint8Array(FACTS.count);
  const channels = new Set(state.channels);
  const accounts = new Set(state.accounts);
  for (let e = 0; e < mask.length; e += 1) {
    const fits = (!channels.size || channels.has(FACTS.entities.channel[e]))
      && (!accounts.size || accounts.has(accountAt(FACTS.entities.account[e]).key));
    mask[e] = fits ? 1 : 0;
  }
  return mask;
}

// Distinct values over entities: `of[e]` is the group of an entity, `keys` what the groups are.
function grouped(keyOf) {
  const index = new Map();
  const of = new Int32Array(FACTS.count).fill(-1);
  for (let e = 0; e < of.length; e += 1) {
    const key = keyOf(e);
    if (key === null) continue;
    if (!index.has(key)) index.set(key, { place: index.size, entity: e });
    of[e] = index.get(key).place;
  }
  return { of, keys: [...index.keys()], first: [...index.values()].map((found) => found.entity) };
}

function firstDayIndex(day) {
  let low = 0;
  for (let high = FACTS.days.length; low < high;) {
    const middle = (low + high) >> 1;
    if (FACTS.days[middle] < day) low = middle + 1;
    else high = middle;
  }
  return low;
}

const SUMMED = ["spend", "impressions", "clicks", "conversations", "leads", "qualified", "won", "won_value"];

// Sums by group of entity and by bucket of day: an array of `groups * buckets` sums each.
// `window_qualified` are those who qualified within the window; `ripe_*` is of the days that are old
// enough for it only (of "ever" every day is): a ratio of the two kinds would be unfair to the young.
function sums({ range = state.range, mask = chosenEntities(), groups = null, buckets = null, within = state.within }) {
  const columnsOf = (buckets?.keys.length ?? 1);
  const size = (groups?.keys.length ?? 1) * columnsOf;
  const qualified = within === "ever" ? "qualified" : `qualified_${within}d`;
  const ripeBefore = within === "ever" ? Number.POSITIVE_INFINITY : AS_OF - Number(within);
  const out = {};
  const { entity, days, starts, columns, units } = FACTS;
  const wanted = [...SUMMED.map((name) => [name, name]), [qualified, "window_qualified"]]
    .map(([from, to]) => [columns[from], (out[to] = new Float64Array(size)), units[from]]);
  const ripe = [["spend", "ripe_spend"], ["leads", "ripe_leads"], [qualified, "ripe_qualified"]]
    .map(([from, to]) => [columns[from], (out[to] = new Float64Array(size)), units[from]]);
  for (let d = firstDayIndex(range[0]); d < days.length && days[d] <= range[1]; d += 1) {
    const bucket = buckets ? buckets.of(days[d]) : 0;
    const isRipe = days[d] < ripeBefore;
    for (let row = starts[d]; row < starts[d + 1]; row += 1) {
      const e = entity[row];
      if (!mask[e]) continue;
      const group = groups ? groups.of[e] : 0;
      if (group < 0) continue;
      const place = group * columnsOf + bucket;
      for (let m = 0; m < wanted.length; m += 1) wanted[m][1][place] += wanted[m][0][row];
      if (isRipe) for (let m = 0; m < ripe.length; m += 1) ripe[m][1][place] += ripe[m][0][row];
    }
  }
  for (const [, sum, unit] of [...wanted, ...ripe]) {
    if (unit !== 1) for (let place = 0; place < size; place += 1) sum[place] /= unit;
  }
  return out;
}

// Days, weeks from Monday, or months of a range; the first and last may be cut by it.
function bucketsOf(range, grain) {
  const start = { day: (d) => d, week: (d) => d - ((d + 3) % 7), month: (d) => monthOf(d) }[grain];
  const keys = [];
  const place = new Int32Array(Math.max(0, range[1] - range[0] + 1));
  for (let day = range[0]; day <= range[1]; day += 1) {
    if (keys[keys.length - 1] !== start(day)) keys.push(start(day));
    place[day - range[0]] = keys.length - 1;
  }
  return { grain, keys, of: (day) => place[day - range[0]] };
}

function grainOf([from, to]) {
  if (state.grain !== "auto") return state.grain;
  const days = to - from + 1;
  return days <= 31 ? "day" : days <= 200 ? "week" : "month";
}
