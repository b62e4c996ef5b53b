// Sums over the facts. Every ratio on the page is a sum over a sum (rule R11).

// Which entities pass the filters.
function chosenEntities() {
  const mask = new Uint8Array(ENTITIES.count);
  const sets = Object.fromEntries(FILTERS.map((name) => [name, new Set(state[name])]));
  const asked = FILTERS.filter((name) => sets[name].size);
  for (let e = 0; e < mask.length; e += 1) {
    mask[e] = asked.every((name) => sets[name].has(ENTITY_KEYS[name](e))) ? 1 : 0;
  }
  return mask;
}

const keyOf = (platform, id) => (id === null || id === undefined ? "none" : `${platform}:${id}`);
function adsetOf(platform, ad) {
  if (ad === OTHERS) return OTHERS;
  if (ad?.startsWith("ad_group:")) return ad.slice("ad_group:".length);
  return ADS.get(`${platform} ${ad}`)?.adset ?? null;
}
// The value that a filter compares, of an entity.
const ENTITY_KEYS = {
  channels: (e) => ENTITIES.channel[e],
  accounts: (e) => accountAt(ENTITIES.account[e]).key,
  campaigns: (e) => keyOf(ENTITIES.platform[e], ENTITIES.campaign[e]),
  adsets: (e) => keyOf(ENTITIES.platform[e], adsetOf(ENTITIES.platform[e], ENTITIES.ad[e])),
  ads: (e) => keyOf(ENTITIES.platform[e], ENTITIES.ad[e]),
  numbers: (e) => ENTITIES.number[e],
  brands: (e) => ENTITIES.brand[e],
};

// The finest level that the filters or the page need.
function levelFor(wish) {
  const needed = state.ads.length || state.adsets.length ? 0 : state.campaigns.length ? 1 : 2;
  return LEVEL_NAMES[Math.min(needed, LEVEL_NAMES.indexOf(wish))];
}

// The period that a page shows at a level: only days old enough for the window, so that every
// column of a row covers the same days; in whole periods where days are not kept.
function shownRange(level) {
  if (state.within === "ever") return wholePeriods(state.range, level);
  const last = Math.min(state.range[1], AS_OF - Number(state.within) - 1);
  if (last < state.range[0]) return [state.range[0], state.range[0] - 1];
  return wholePeriods([state.range[0], last], level, last);
}

// Distinct values over entities: `of[e]` is the group of an entity, `keys` what the groups are.
function grouped(level, keyOf) {
  const index = new Map();
  const of = new Int32Array(ENTITIES.count).fill(-1);
  const coarsest = LEVEL_NAMES.indexOf(level);
  for (let e = 0; e < of.length; e += 1) {
    if (ENTITIES.level[e] > coarsest) continue;
    const key = keyOf(e);
    if (key === null) continue;
    if (!index.has(key)) index.set(key, { place: index.size, entity: e });
    of[e] = index.get(key).place;
  }
  return { of, keys: [...index.keys()], first: [...index.values()].map((found) => found.entity) };
}

const COST = ["spend", "leads", "qualified"];

// Sums by group of entity and by bucket of day: an array of `groups * buckets` sums each.
// `qualified` counts what happened within the window (`within`), or before `seenOn`: with the same
// distance between a period and the day it is seen on, two periods are compared at equal age.
function sums({
  level = levelFor("total"),
  range = shownRange(level),
  mask = chosenEntities(),
  groups = null,
  buckets = null,
  within = state.within,
  seenOn = null,
  names,
}) {
  const width = Math.max(1, buckets?.keys.length ?? 1);
  const size = (groups?.keys.length ?? 1) * width;
  const out = Object.fromEntries(names.map((name) => [name, new Float64Array(size)]));
  const isEmpty = range[1] < range[0];
  const rowOf = groups
    ? groups.of.map((group, e) => (mask[e] && group >= 0 ? group * width : -1))
    : Int32Array.from(mask, (fits) => (fits ? 0 : -1));
  for (const zone of LEVELS[level]) {
    if (zone.to <= range[0] || zone.from > range[1]) continue;
    const ends = [indexFrom(zone.periods, range[0]), indexFrom(zone.periods, range[1] + 1)];
    for (const name of names) {
      if (name === "qualified" && seenOn !== null) {
        addSeen(zone, out[name], { rowOf, buckets, ends, seenOn });
        continue;
      }
      const column =
        name === "qualified" && within !== "ever"
          ? qualifiedWithin(zone, Number(within))
          : zone.columns[name];
      // Of whole numbers, the unit is divided out of each zone's sum.
      const sum = zone.units[name] === 1 ? out[name] : new Float64Array(size);
      for (let p = ends[0]; p < ends[1]; p += 1) {
        const bucket = buckets ? buckets.of(zone.periods[p]) : 0;
        add(column, sum, zone.entity, rowOf, bucket, zone.starts[p], zone.starts[p + 1]);
      }
      if (sum !== out[name])
        for (let at = 0; at < size; at += 1) out[name][at] += sum[at] / zone.units[name];
    }
  }
  const unknown = isEmpty ? names : isByNumber() ? OF_PLATFORM : [];
  for (const name of unknown) out[name]?.fill(Number.NaN);
  return out;
}

const isByNumber = () => state.numbers.length > 0 || state.brands.length > 0;

function addSeen(zone, sum, { rowOf, buckets, ends, seenOn }) {
  for (let p = ends[0]; p < ends[1]; p += 1) {
    const bucket = buckets ? buckets.of(zone.periods[p]) : 0;
    const limit = zone.grain === "day" ? seenOn - 1 - zone.periods[p] : Number.NaN;
    for (let row = zone.starts[p]; row < zone.starts[p + 1]; row += 1) {
      const place = rowOf[zone.entity[row]];
      if (place >= 0)
        sum[place + bucket] += Number.isNaN(limit) ? limit : youngIn(zone, row, limit);
    }
  }
}

function add(column, sum, entity, rowOf, bucket, from, to) {
  for (let row = from; row < to; row += 1) {
    const place = rowOf[entity[row]];
    if (place >= 0) sum[place + bucket] += column[row];
  }
}

function indexFrom(days, day) {
  let low = 0;
  for (let high = days.length; low < high;) {
    const middle = (low + high) >> 1;
    if (days[middle] < day) low = middle + 1;
    else high = middle;
  }
  return low;
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

// What a period is compared with: the same number of days directly before, or the same dates a
// year earlier. Null if the marts do not go back that far, or not by day. `shift` in days.
function periodBefore(range, level) {
  const [from, to] = range;
  if (to < from) return null;
  const shift = state.against === "year" ? from - yearEarlier(from) : to - from + 1;
  const before = [from - shift, to - shift];
  if (before[0] < FIRST_DAY || !hasDaysOf(before, level)) return null;
  return { range: before, shift };
}

function yearEarlier(day) {
  const at = new Date(day * DAY);
  const last = Math.round(Date.UTC(at.getUTCFullYear() - 1, at.getUTCMonth() + 1, 0) / DAY);
  const same = Math.round(Date.UTC(at.getUTCFullYear() - 1, at.getUTCMonth(), 1) / DAY);
  return Math.min(same + at.getUTCDate() - 1, last);
}

// Both sides of a comparison, with what qualified at equal age. With a window they have it anyhow.
function comparedSums(level, range, before, more) {
  if (!before) return null;
  const isEver = state.within === "ever";
  const side = (days, seenOn) =>
    sums({ level, range: days, ...more, names: COST, seenOn: isEver ? seenOn : null });
  return { now: side(range, AS_OF), then: side(before.range, AS_OF - before.shift) };
}

const startOf = {
  day: (day) => day,
  week: (day) => day - ((day + 3) % 7),
  month: (day) => monthOf(day),
  year: (day) => yearOf(day),
};

// Days, weeks from Monday, or months of a range; `isPart`: not all days of it are in the range.
function bucketsOf(range, grain) {
  const keys = [];
  const place = new Int32Array(Math.max(0, range[1] - range[0] + 1));
  for (let day = range[0]; day <= range[1]; day += 1) {
    const start = startOf[grain](day);
    if (keys[keys.length - 1] !== start) keys.push(start);
    place[day - range[0]] = keys.length - 1;
  }
  const days = keys.map(
    (key) => Math.min(nextStart(key, grain) - 1, range[1]) - Math.max(key, range[0]) + 1,
  );
  return {
    grain,
    keys,
    days,
    isPart: keys.map((key, at) => days[at] < nextStart(key, grain) - key),
    of: (day) => place[Math.max(day, range[0]) - range[0]],
  };
}

// Days for short ranges, then weeks, and months if there would be too many weeks; never finer than
// what is kept.
const ENOUGH_A_DAY = 10;
function grainOf([from, to], leads, level = "total") {
  const days = to - from + 1;
  const wish =
    state.grain !== "auto"
      ? state.grain
      : days <= 10 || (days <= 62 && leads / days >= ENOUGH_A_DAY)
        ? "day"
        : days <= 220
          ? "week"
          : "month";
  const kept = LEVELS[level]
    .filter((zone) => zone.from <= to && zone.to > from)
    .map((zone) => KEPT_GRAINS.indexOf(zone.grain));
  return KEPT_GRAINS[Math.max(KEPT_GRAINS.indexOf(wish), ...kept)];
}
const KEPT_GRAINS = ["day", "week", "month", "year"];
