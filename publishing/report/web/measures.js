// The measures: one place for name, value, format, and which direction is good. `events`: what is
// counted in it, on which its chance variation depends.

const MEASURES = {
  spend: { of: (s) => s.spend, format: (v) => money(v) },
  leads: { of: (s) => s.leads, format: (v) => number(v), good: 1, events: "leads" },
  qualified: { of: (s) => s.qualified, format: (v) => number(v), good: 1, events: "qualified" },
  rate: {
    of: (s) => ratio(s.qualified, s.leads),
    format: (v) => percent(v),
    good: 1,
    events: "qualified",
  },
  cpl: { of: (s) => costOf(s.spend, s.leads), format: (v) => money(v), good: -1, events: "leads" },
  cpql: {
    of: (s) => costOf(s.spend, s.qualified),
    format: (v) => money(v),
    good: -1,
    events: "qualified",
  },
  // Ads and messages (rule R16); what no ad paid for has no price here either.
  loaded_cpql: { of: (s) => loadedOf(s, s.qualified), format: (v) => money(v), good: -1 },
  answered: { of: (s) => s.answered, format: (v) => duration(v), good: -1 },
  clicks: { of: (s) => s.clicks, format: (v) => number(v) },
  impressions: { of: (s) => s.impressions, format: (v) => number(v) },
  conversations: { of: (s) => s.conversations, format: (v) => number(v) },
  replied: { of: (s) => s.replied, format: (v) => number(v), good: 1 },
  won: { of: (s) => s.won, format: (v) => number(v), good: 1 },
  won_value: { of: (s) => s.won_value, format: (v) => money(v), good: 1 },
  roas: { of: (s) => costOf(s.won_value, s.spend), format: (v) => number(v, 2), good: 1 },
};

// A column of a chart's numbers.
const measured = (name) => [t(`measure.${name}`), MEASURES[name].format];

const loadedOf = (s, people) => (s.spend === 0 ? null : ratio(s.spend + s.message_cost, people));

const measureOf = (name, row) => {
  const value = MEASURES[name].of(row);
  return isKnown(value) ? value : null;
};

// One position of the sums as a row.
function rowAt(totals, place) {
  return Object.fromEntries(Object.keys(totals).map((name) => [name, totals[name][place]]));
}

// An unknown amount (NaN) and a credit also count as figures.
function hasFigures(row) {
  if (row.leads > 0) return true;
  return isByNumber() ? false : row.spend !== 0 || (row.impressions ?? 0) > 0;
}

function changeOf(now, before) {
  return isKnown(now) && isKnown(before) && before !== 0 ? now / before - 1 : null;
}

// Whether chance alone often makes such a difference (1 of 10 times): counts vary by their root.
const CHANCE = 1.645;
function isChance(name, now, before) {
  const { events } = MEASURES[name];
  if (!events) return false;
  const [a, b] = [now[events], before[events]];
  if (!(a > 0 && b > 0)) return true;
  const change = Math.abs(Math.log(measureOf(name, now) / measureOf(name, before)));
  return change < CHANCE * Math.sqrt(1 / a + 1 / b);
}

// "▲ 12 %" in the colour for good or bad, grey if it may be chance; in words for screen readers.
function changeTag(name, pair) {
  const change = pair ? changeOf(measureOf(name, pair.now), measureOf(name, pair.then)) : null;
  if (change === null)
    return h("span", { class: "change none" }, NOTHING, aside(t("change.unknown")));
  const few = isChance(name, pair.now, pair.then);
  const good = (MEASURES[name].good ?? 0) * Math.sign(Math.round(change * 100));
  const tone = few ? "few" : good > 0 ? "good" : good < 0 ? "bad" : "flat";
  const way = change > 0 ? "up" : change < 0 ? "down" : "same";
  const sign = { up: "▲", down: "▼", same: "=" }[way];
  return h(
    "span",
    { class: `change ${tone}`, title: few ? t("change.few") : null },
    h("span", { "aria-hidden": "true" }, `${sign} ${percent(Math.abs(change), 0)}`),
    aside(t(`change.${way}`, { change: percent(Math.abs(change), 0) })),
    few ? h("span", { class: "doubt" }, ` ${t("change.few.short")}`) : null,
  );
}

// Figures that lead to the leads behind them, and the stage that they have reached.
const STAGE_OF = { leads: "all", replied: "replied", qualified: "qualified", won: "won" };

// A table column for a measure. Rows with `drill`, the filters that they stand for, link counts of
// leads to the list of exactly these leads.
function measureColumn(name, more = {}) {
  const { format } = MEASURES[name];
  return {
    id: name,
    label: t(`measure.${name}`),
    hint: t(`measure.${name}.hint`),
    numeric: true,
    value: (row) => measureOf(name, row),
    format,
    inTotal: true,
    cell: (row, value) => {
      const figure = figureOf(format(value), value, name);
      return STAGE_OF[name] && row.drill && value > 0
        ? h("a", { class: "drill", href: leadsOf(row.drill, name) }, figure)
        : figure;
    },
    ...more,
  };
}

const leadsOf = (drill, name) => address({ ...drill, page: "leads", stage: STAGE_OF[name] });

const CAMPAIGNS = described(DATA.campaigns);
const ADS = described(DATA.ads);

function described(table) {
  const columns = Object.fromEntries(
    Object.entries(table).map(([name, column]) => [name, wordsOf(column)]),
  );
  const rows = new Map();
  columns.id.forEach((id, at) => {
    const row = Object.fromEntries(Object.keys(columns).map((name) => [name, columns[name][at]]));
    rows.set(`${row.platform} ${id}`, row);
  });
  return rows;
}

const PLATFORM_NAMES = { meta: "Meta", google: "Google", microsoft: "Microsoft" };
const platformName = (platform) => PLATFORM_NAMES[platform] ?? platform ?? NOTHING;

// What has no place of its own here, since there is so much (room.py): ads of a campaign, campaigns of
// an account.
const OTHERS = "others";

// Placeholders for spend and leads without a known campaign or ad have names in every language.
function campaignName(platform, id) {
  if (id === null) return t("campaign.none");
  if (id.startsWith("others:")) return t("campaign.others");
  if (id === "unresolved") return t("campaign.unresolved", { platform: platformName(platform) });
  if (id.startsWith("unallocated:"))
    return t("campaign.unallocated", { platform: platformName(platform) });
  return CAMPAIGNS.get(`${platform} ${id}`)?.name ?? id;
}

function adName(platform, id) {
  if (id === null) return t("campaign.none");
  if (id === OTHERS) return t("ad.others");
  if (id === "unknown") return t("ad.unknown", { platform: platformName(platform) });
  if (id.startsWith("unallocated:"))
    return t("campaign.unallocated", { platform: platformName(platform) });
  if (id.startsWith("campaign:")) return t("ad.campaign");
  if (id.startsWith("ad_group:")) return t("ad.ad_group");
  return ADS.get(`${platform} ${id}`)?.name ?? id;
}

function adsetName(platform, id) {
  if (id === OTHERS) return adName(platform, id);
  return adsetNameMap().get(`${platform} ${id}`) ?? id;
}

let adsetNames = null;
function adsetNameMap() {
  adsetNames ??= new Map(
    [...ADS.values()]
      .filter((ad) => ad.adset)
      .map((ad) => [`${ad.platform} ${ad.adset}`, ad.adset_name ?? ad.adset]),
  );
  return adsetNames;
}

// Names that several rows share are followed by what tells them apart: the end of the id.
function tellApart(rows, idOf) {
  const seen = new Map();
  for (const row of rows) seen.set(row.title, (seen.get(row.title) ?? 0) + 1);
  for (const row of rows) row.twin = seen.get(row.title) > 1 ? `…${String(idOf(row)).slice(-6)}` : null;
  return rows;
}

function accountName(account) {
  if (account.key === "none") return t("account.none");
  const name = account.name ?? account.id;
  return SHARED_NAMES.has(name) ? `${name} …${account.id.slice(-6)}` : name;
}

// Names that several accounts have; `account` is told apart by the end of its id.
const SHARED_NAMES = new Set(
  ACCOUNTS.map((account) => account.name).filter(
    (name, at, all) => name !== null && all.indexOf(name) !== at,
  ),
);
