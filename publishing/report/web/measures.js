// The measures: one place for name, value, format, and which direction is good.

const MEASURES = {
  spend: { of: (s) => s.spend, format: (v) => money(v) },
  leads: { of: (s) => s.leads, format: (v) => number(v), good: 1 },
  qualified: { of: (s) => s.ripe_qualified, format: (v) => number(v), good: 1 },
  rate: { of: (s) => ratio(s.ripe_qualified, s.ripe_leads), format: (v) => percent(v), good: 1 },
  cpl: { of: (s) => costOf(s.spend, s.leads), format: (v) => money(v), good: -1 },
  cpql: { of: (s) => costOf(s.ripe_spend, s.ripe_qualified), format: (v) => money(v), good: -1 },
  clicks: { of: (s) => s.clicks, format: (v) => number(v) },
  impressions: { of: (s) => s.impressions, format: (v) => number(v) },
  won_value: { of: (s) => s.won_value, format: (v) => money(v), good: 1 },
};

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
  return row.spend !== 0 || row.leads > 0 || (row.impressions ?? 0) > 0;
}

// The previous period of the same length; null if the marts do not go back that far.
function rangeBefore([from, to]) {
  const days = to - from + 1;
  return from - days < FIRST_DAY ? null : [from - days, from - 1];
}

function changeOf(now, before) {
  return isKnown(now) && isKnown(before) && before !== 0 ? now / before - 1 : null;
}

// "▲ 12 %" in the colour for good or bad; in words for screen readers.
function changeTag(name, now, before) {
  const change = changeOf(now, before);
  if (change === null)
    return h("span", { class: "change none" }, NOTHING, aside(t("change.unknown")));
  const good = (MEASURES[name].good ?? 0) * Math.sign(Math.round(change * 100));
  const tone = good > 0 ? "good" : good < 0 ? "bad" : "flat";
  const way = change > 0 ? "up" : change < 0 ? "down" : "same";
  const sign = { up: "▲", down: "▼", same: "=" }[way];
  return h(
    "span",
    { class: `change ${tone}` },
    h("span", { "aria-hidden": "true" }, `${sign} ${percent(Math.abs(change), 0)}`),
    aside(t(`change.${way}`, { change: percent(Math.abs(change), 0) })),
  );
}

// A table column for a measure.
function measureColumn(name, more = {}) {
  return {
    id: name,
    label: t(`measure.${name}`),
    hint: t(`measure.${name}.hint`),
    numeric: true,
    value: (row) => measureOf(name, row),
    format: MEASURES[name].format,
    ...more,
  };
}

const CAMPAIGNS = keyed(DATA.campaigns);
const ADS = keyed(DATA.ads);

function keyed(table) {
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

// Placeholders for spend and leads without a known campaign or ad have names in every language.
function campaignName(platform, id) {
  if (id === null) return t("campaign.none");
  if (id === "unresolved") return t("campaign.unresolved", { platform: platformName(platform) });
  if (id.startsWith("unallocated:"))
    return t("campaign.unallocated", { platform: platformName(platform) });
  return CAMPAIGNS.get(`${platform} ${id}`)?.name ?? id;
}

function adName(platform, id) {
  if (id === null) return t("campaign.none");
  if (id === "unknown") return t("ad.unknown", { platform: platformName(platform) });
  if (id.startsWith("unallocated:"))
    return t("campaign.unallocated", { platform: platformName(platform) });
  if (id.startsWith("campaign:")) return t("ad.campaign");
  if (id.startsWith("ad_group:")) return t("ad.ad_group");
  return ADS.get(`${platform} ${id}`)?.name ?? id;
}

function accountName(account) {
  if (account.key === "none") return t("account.none");
  return account.name ?? account.id;
}
