// The facts as arrays, and sums over them. Every ratio on the page is a sum over a sum (rule R11).

function wordsOf(column) {
  return column.i.map((index) => (index < 0 ? null : column.w[index]));
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
  const names = [
    "spend",
    "won_value",
    "impressions",
    "clicks",
    "leads",
    "qualified",
    ...WINDOWS.map((days) => `qualified_${days}d`),
  ];
  const columns = Object.fromEntries(names.map((name) => [name, numbersOf(raw[name])]));
  const units = Object.fromEntries(names.map((name) => [name, unitOf(raw[name])]));
  const entities = {
    account: raw.entities.account,
    ...Object.fromEntries(
      ["platform", "campaign", "ad", "channel"].map((n) => [n, wordsOf(raw.entities[n])]),
    ),
  };
  return {
    rows: raw.rows,
    entity,
    days,
    starts,
    columns,
    units,
    entities,
    count: entities.account.length,
  };
})();

const FIRST_DAY = FACTS.days.length ? Math.min(FACTS.days[0], LAST_DAY) : LAST_DAY;
const END_DAY = Math.max(AS_OF, FACTS.days[FACTS.days.length - 1] ?? AS_OF);
const CHANNELS = [...new Set(FACTS.entities.channel)].filter(Boolean).sort();
// Leads without an account can be chosen as well: nothing disappears (rule R12).
const ACCOUNTS = [
  ...DATA.accounts.map((account) => ({ ...account, key: `${account.platform}:${account.id}` })),
  { key: "none", platform: null, id: null, name: null },
];
const NO_ACCOUNT = ACCOUNTS.length - 1;
const accountAt = (index) => ACCOUNTS[index < 0 ? NO_ACCOUNT : index];

// Which entities pass the filters.
function chosenEntities() {
  const mask = new Uint8Array(FACTS.count);
  const channels = new Set(state.channels);
  const accounts = new Set(state.accounts);
  for (let e = 0; e < mask.length; e += 1) {
    const fits =
      (!channels.size || channels.has(FACTS.entities.channel[e])) &&
      (!accounts.size || accounts.has(accountAt(FACTS.entities.account[e]).key));
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

const COST = ["spend", "leads", "qualified"];

// Sums by group of entity and by bucket of day: an array of `groups * buckets` sums each.
// `window_qualified` are leads qualified within the window; `ripe_*` covers only days old enough for
// it (for "ever", all days): mixing the two kinds in a ratio would be unfair to recent leads.
function sums({
  range = state.range,
  mask = chosenEntities(),
  groups = null,
  buckets = null,
  within = state.within,
  names,
}) {
  const width = buckets?.keys.length ?? 1;
  const size = (groups?.keys.length ?? 1) * width;
  const out = {};
  const summed = (column, name) => [
    FACTS.columns[column],
    (out[name] = new Float64Array(size)),
    FACTS.units[column],
  ];
  const wanted = names.map((name) => summed(name, name));
  const ripe = [];
  if (within !== "ever") {
    const column = `qualified_${within}d`;
    wanted.push(summed(column, "window_qualified"));
    ripe.push(
      summed("spend", "ripe_spend"),
      summed("leads", "ripe_leads"),
      summed(column, "ripe_qualified"),
    );
  }
  const ripeBefore = within === "ever" ? 0 : AS_OF - Number(within);
  const { entity, days, starts } = FACTS;
  // The position of each entity's sums, so that the loop over the facts only adds.
  const rowOf = groups
    ? groups.of.map((group, e) => (mask[e] && group >= 0 ? group * width : -1))
    : Int32Array.from(mask, (fits) => (fits ? 0 : -1));
  for (let d = firstDayIndex(range[0]); d < days.length && days[d] <= range[1]; d += 1) {
    const bucket = buckets ? buckets.of(days[d]) : 0;
    for (const [column, sum] of wanted)
      add(column, sum, entity, rowOf, bucket, starts[d], starts[d + 1]);
    if (days[d] < ripeBefore)
      for (const [column, sum] of ripe)
        add(column, sum, entity, rowOf, bucket, starts[d], starts[d + 1]);
  }
  for (const [, sum, unit] of [...wanted, ...ripe]) {
    if (unit !== 1) for (let place = 0; place < size; place += 1) sum[place] /= unit;
  }
  if (within !== "ever") return out;
  return {
    ...out,
    window_qualified: out.qualified,
    ripe_spend: out.spend,
    ripe_leads: out.leads,
    ripe_qualified: out.qualified,
  };
}

function add(column, sum, entity, rowOf, bucket, from, to) {
  for (let row = from; row < to; row += 1) {
    const place = rowOf[entity[row]];
    if (place >= 0) sum[place + bucket] += column[row];
  }
}

// From sums by group and bucket: sums by group, by bucket, or overall.
function folded(totals, width, { keepGroups = false, keepBuckets = false }) {
  const out = {};
  for (const [name, values] of Object.entries(totals)) {
    const height = values.length / width;
    const sum = new Float64Array((keepGroups ? height : 1) * (keepBuckets ? width : 1));
    for (let at = 0; at < values.length; at += 1) {
      sum[keepGroups ? Math.floor(at / width) : keepBuckets ? at % width : 0] += values[at];
    }
    out[name] = sum;
  }
  return out;
}

// Days, weeks from Monday, or months of a range; the first and last may be incomplete.
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

// Days for short ranges, then weeks, and months if there would be too many weeks.
const ENOUGH_A_DAY = 10;
function grainOf([from, to], leads) {
  if (state.grain !== "auto") return state.grain;
  const days = to - from + 1;
  if (days <= 10 || (days <= 62 && leads / days >= ENOUGH_A_DAY)) return "day";
  return days <= 220 ? "week" : "month";
}
