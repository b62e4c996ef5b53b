// Health: whether the figures can be trusted today.

const HEALTH = Object.fromEntries(
  Object.entries(DATA.health).map(([name, column]) => [
    name,
    name === "day" ? column : numbersOf(column),
  ]),
);
const AD_SIGNS = ["resolved", "pending", "foreign", "gone", "ad_suspected"];
const KINDS = [
  ["resolved", "good"],
  ["pending", "warn"],
  ["foreign", "k6"],
  ["gone", "k8"],
  ["ad_suspected", "k4"],
  ["direct", "k5"],
  ["outbound", "k7"],
];
const STALE_DAYS = 2;
const PARTS = ["billed", "ads", "campaign_level", "unallocated"];

function health(root) {
  const tiles = h("div", { class: "tiles" });
  const chart = chartFigure({
    id: "conversations",
    title: t("health.conversations"),
    note: t("health.conversations.note"),
  });
  const money_ = dataTable({
    id: "reconciliation",
    caption: t("health.reconciliation"),
    sort: { id: "billed", desc: true },
    columns: [
      {
        id: "account",
        label: t("filter.account"),
        value: (row) => row.title,
        cell: (row) => named({ ...row, status: null }),
        also: [[t("csv.id"), (row) => row.key]],
      },
      { id: "days", label: t("health.days"), numeric: true, value: (row) => row.days },
      ...PARTS.map((name) => ({
        id: name,
        label: t(`health.${name}`),
        hint: t(`health.${name}.hint`),
        numeric: true,
        value: (row) => row[name],
        cell: (row, value) =>
          figureOf(row.currency ? money(value, row.currency) : number(value, 2), value, name),
      })),
      {
        id: "share",
        label: t("health.share"),
        hint: t("health.share.hint"),
        numeric: true,
        value: (row) => ratio(row.unallocated, row.billed),
        format: (v) => percent(v),
      },
      {
        id: "through",
        label: t("health.through"),
        numeric: true,
        value: (row) =>
          row.complete_through ? Math.min(dayOf(row.complete_through), AS_OF) : null,
        format: (v) => date(v),
      },
    ],
  });
  const events = DATA.conversions ? eventsTable() : null;
  const alarms = DATA.alarms ? alarmsTable() : null;
  const restated = restatedTable();
  const verdict = h("p", { class: "notice", role: "note", id: "trust" });
  root.append(
    verdict,
    tiles,
    alarms
      ? section(t("health.alarms"), t("health.alarms.note"), alarms.element)
      : h("p", { class: "notice", role: "note" }, t("health.no_alarms")),
    chart.element,
    section(t("health.reconciliation"), t("health.reconciliation.note"), money_.element),
  );
  root.append(section(t("health.restated"), t("health.restated.note"), restated.element));
  if (events) root.append(section(t("health.events"), t("health.events.note"), events.element));

  return () => {
    const of = (name) => healthSum(name);
    const signs = AD_SIGNS.reduce((sum, name) => sum + of(name), 0);
    const complete = DATA.accounts
      .map((account) => account.complete_through)
      .filter(Boolean)
      .sort()[0];
    const isNeverRead = DATA.unread.some((one) => one.reason === "never_read");
    const freshDay = complete && !isNeverRead ? Math.min(dayOf(complete), LAST_DAY) : null;
    const lag = freshDay === null ? null : AS_OF - 1 - freshDay;
    fill(
      tiles,
      healthTile(
        "match_rate",
        percent(ratio(of("resolved"), signs)),
        ratio(of("resolved"), signs),
        toneOf(ratio(of("resolved"), signs), 0.9, 0.75),
      ),
      healthTile(
        "pending",
        number(of("pending")),
        of("pending"),
        countTone(of("pending"), of("conversations")),
      ),
      healthTile(
        "suspected",
        number(of("ad_suspected")),
        of("ad_suspected"),
        toneOf(
          of("conversations") ? 1 - of("ad_suspected") / of("conversations") : null,
          0.9,
          0.8,
        ),
      ),
      healthTile(
        "unmatched",
        number(of("unmatched_outcomes")),
        of("unmatched_outcomes"),
        countTone(of("unmatched_outcomes"), of("envelopes")),
      ),
      healthTile(
        "quarantined",
        number(of("quarantined_envelopes")),
        of("quarantined_envelopes"),
        countTone(of("quarantined_envelopes"), of("envelopes")),
      ),
      healthTile(
        "fresh",
        date(freshDay),
        freshDay,
        DATA.accounts.length === 0
          ? "none"
          : lag === null || lag > STALE_DAYS
            ? "wrong"
            : lag > 0
              ? "warn"
              : "fine",
      ),
    );
    const warned = standing();
    verdict.className = `notice ${warned.length ? "" : "calm"}`;
    fill(
      verdict,
      DATA.accounts.length === 0 && of("envelopes") === 0
        ? t("health.nothing_read")
        : warned.length
          ? t("health.standing", {
              count: number(warned.length),
              names: warned.map((one) => word("alarm", one.alarm)).join(", "),
            })
          : t("health.none_standing", {
              off: number((DATA.alarms ?? []).filter((one) => one.status === "off").length),
            }),
    );
    verdict.hidden = DATA.alarms === null;
    alarms?.update(DATA.alarms);
    restated.update(RESTATED);
    coveredBy(money_, reconciled());
    chart.update(conversationsChart());
    if (events) coveredBy(events, eventRows());
  };
}

// The rows of a table, and a note where they cover more days than were asked for.
function coveredBy(table, { rows, covered }) {
  const isWider = covered[0] < state.range[0] || covered[1] > state.range[1];
  table.update(rows);
  table.note(isWider ? t("notice.whole_periods", { period: span(covered) }) : null);
}

const toneOf = (share, fine, warn) =>
  share === null ? "none" : share >= fine ? "fine" : share >= warn ? "warn" : "wrong";

// A count that should be 0, of something that may not have happened at all.
const countTone = (count, of) => (count > 0 ? "warn" : of > 0 ? "fine" : "none");

function healthTile(name, text, value, given) {
  const tone = warnsFor(name) && given !== "wrong" ? "warn" : given;
  return h(
    "div",
    { class: `tile state-${tone}` },
    h("p", { class: "name" }, t(`health.${name}`)),
    h("p", { class: "big" }, figureOf(text, value, name)),
    h("p", { class: "state" }, t(`state.${tone}`)),
    h("p", { class: "against" }, t(`health.${name}.hint`)),
  );
}

function inRange(day) {
  return day >= state.range[0] && day <= state.range[1];
}

function healthSum(name) {
  let sum = 0;
  HEALTH.day.forEach((day, at) => {
    if (inRange(day)) sum += HEALTH[name][at];
  });
  return sum;
}

const RECONCILIATION = DATA.reconciliation.map((zone) => ({
  ...zone,
  ...Object.fromEntries(
    PARTS.map((name) => [name, numbersOf(zone[name]).map((sum) => sum / unitOf(zone[name]))]),
  ),
}));

// By account, and the days that are covered: whole weeks or months where days are not kept.
function reconciled() {
  const { rows: found, covered } = rowsInRange(RECONCILIATION, state.range);
  const rows = new Map();
  for (const [zone, at] of found) {
    const one = accountAt(zone.account[at]);
    if (state.accounts.length && !state.accounts.includes(one.key)) continue;
    if (!rows.has(one.key))
      rows.set(one.key, {
        ...one,
        title: accountName(one),
        account: "",
        days: 0,
        ...Object.fromEntries(PARTS.map((name) => [name, 0])),
      });
    const sum = rows.get(one.key);
    sum.days += zone.days[at];
    for (const name of PARTS) sum[name] += zone[name][at];
  }
  // To the cent, whatever adding up fractions leaves behind.
  for (const row of rows.values())
    for (const name of PARTS) row[name] = Math.round(row[name] * 1e6) / 1e6;
  return { rows: [...rows.values()], covered };
}

function conversationsChart() {
  const series = bucketsOf(state.range, grainOf(state.range, healthSum("conversations")));
  const totals = Object.fromEntries(
    KINDS.map(([name]) => [name, new Array(series.keys.length).fill(0)]),
  );
  HEALTH.day.forEach((day, at) => {
    if (inRange(day)) for (const [name] of KINDS) totals[name][series.of(day)] += HEALTH[name][at];
  });
  const shown = KINDS.filter(([name]) => totals[name].some((value) => value > 0));
  return {
    summary: shown
      .map(([name]) => `${t(`kind.${name}`)} ${number(totals[name].reduce((a, b) => a + b, 0))}`)
      .join(", "),
    columns: [
      t("chart.period"),
      ...shown.map(([name]) => [t(`kind.${name}`), (v) => number(v)]),
    ],
    rows: shown.length
      ? series.keys.map((_, at) => [
          longLabel(series, at),
          ...shown.map(([name]) => totals[name][at]),
        ])
      : [],
    option: {
      grid: { ...chartBase().grid, top: legendHeight(shown.map(([name]) => t(`kind.${name}`))) },
      xAxis: categoryAxis(labels(series)),
      yAxis: valueAxis((v) => number(v), { minInterval: 1 }),
      tooltip: tooltip((points) => [
        longLabel(series, points[0].dataIndex),
        ...points
          .filter((point) => point.value > 0)
          .reverse()
          .map((point) => [point.seriesName, number(point.value)]),
      ]),
      series: shown.map(([name, colour]) =>
        bars(t(`kind.${name}`), totals[name], colour, {
          stack: "kinds",
          itemStyle: { color: cssColour(colour) },
        }),
      ),
    },
  };
}

function eventsTable() {
  return dataTable({
    id: "events",
    caption: t("health.events"),
    sort: { id: "events", desc: true },
    columns: [
      { id: "stage", label: t("health.stage"), value: (row) => word("stage", row.stage) },
      { id: "event", label: t("health.event"), value: (row) => row.event ?? NOTHING },
      { id: "status", label: t("health.status"), value: (row) => word("event_status", row.status) },
      {
        id: "reason",
        label: t("health.reason"),
        value: (row) => word("event_reason", row.reason),
      },
      { id: "events", label: t("health.count"), numeric: true, value: (row) => row.events },
    ],
  });
}

const EVENTS = (DATA.conversions ?? []).map((zone) => ({
  ...zone,
  ...Object.fromEntries(
    ["stage", "event", "status", "reason"].map((name) => [name, wordsOf(zone[name])]),
  ),
}));

function eventRows() {
  const rows = new Map();
  const { rows: found, covered } = rowsInRange(EVENTS, state.range);
  for (const [zone, at] of found) {
    const [stage, event, status, reason] = [zone.stage, zone.event, zone.status, zone.reason].map(
      (column) => column[at],
    );
    const key = JSON.stringify([stage, event, status, reason]);
    if (!rows.has(key)) rows.set(key, { stage, event, status, reason, events: 0 });
    rows.get(key).events += zone.events[at];
  }
  return { rows: [...rows.values()], covered };
}
