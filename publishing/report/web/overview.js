// Overview: what was spent and what came of it, against the previous period.

const TILES = ["spend", "leads", "qualified", "cpl", "cpql"];

function overview(root) {
  const tiles = Object.fromEntries(
    TILES.map((name) => [name, h("div", { class: "tile", id: `tile-${name}` })]),
  );
  const notice = h("div", { class: "notice", role: "note", hidden: true });
  const grain = choice(
    "grain",
    t("grain.label"),
    state.grain,
    [["auto", t("grain.auto")], ...GRAINS.map((name) => [name, t(`grain.${name}`)])],
    (value) => change({ grain: value }),
  );
  const cost = chartFigure({
    id: "cost",
    title: t("overview.cost"),
    note: t("overview.cost.note"),
    tools: grain,
  });
  const people = chartFigure({
    id: "people",
    title: t("overview.people"),
    note: t("overview.people.note"),
  });
  const origin = chartFigure({
    id: "origin",
    title: t("overview.origin"),
    note: t("overview.origin.note"),
  });
  const channels = dataTable({
    id: "channels",
    caption: t("overview.channels"),
    sort: { id: "leads", desc: true },
    columns: [
      { id: "channel", label: t("filter.channel"), value: (row) => word("channel", row.key) },
      measureColumn("spend"),
      measureColumn("leads"),
      measureColumn("qualified"),
      measureColumn("rate"),
      measureColumn("cpl"),
      measureColumn("cpql"),
      changeColumn("cpql"),
      measureColumn("loaded_cpql"),
      measureColumn("answered"),
    ],
  });
  root.append(
    h("div", { class: "tiles" }, Object.values(tiles)),
    notice,
    h("div", { class: "pair" }, cost.element, people.element),
    section(t("overview.channels"), t("overview.channels.note"), channels.element),
    origin.element,
  );

  return () => {
    const level = levelFor("total");
    const range = shownRange(level);
    const mask = chosenEntities();
    const groups = grouped(level, (e) => ENTITIES.channel[e]);
    const before = periodBefore(range, level);
    const leads = sums({ level, range, mask, names: ["leads"] }).leads[0];
    const series = bucketsOf(range, grainOf(range, leads, level));
    const width = Math.max(1, series.keys.length);
    // One pass over the facts for everything shown, and one for each side of the comparison.
    const both = sums({ level, range, mask, groups, buckets: series, names: [...COST, "message_cost"] });
    const compared = comparedSums(level, range, before, { mask, groups });
    const byChannel = folded(both, width, { keepGroups: true });
    const byBucket = folded(both, width, { keepBuckets: true });
    const now = rowAt(folded(both, width, {}), 0);
    const pairs = (at) => compared && pairAt(compared, at);
    const answered = medianAnswers(range, mask, groups);
    const whole = compared && {
      now: rowAt(folded(compared.now, 1, {}), 0),
      then: rowAt(folded(compared.then, 1, {}), 0),
    };

    for (const name of TILES) fillTile(tiles[name], name, now, whole);
    fillNotice(notice, range, mask, level);
    const rows = series.keys.map((_, at) => rowAt(byBucket, at));
    const marks = marksOf(series, range);
    cost.update({ ...costChart(series, rows), marks });
    people.update({ ...peopleChart(series, rows), marks });
    channels.update(
      groups.keys
        .map((key, at) => ({
          key,
          ...rowAt(byChannel, at),
          answered: answered?.of[at] ?? null,
          pair: pairs(at),
          drill: { channels: [key] },
        }))
        .filter(hasFigures),
      { ...now, answered: answered?.all ?? null, pair: whole, drill: {} },
    );
    origin.update(originChart(series, groups, both));
  };
}

const pairAt = (compared, at) => ({
  now: rowAt(compared.now, at),
  then: rowAt(compared.then, at),
});

function section(title, note, ...content) {
  return h(
    "section",
    { class: "card" },
    h("div", { class: "title" }, h("h2", {}, title), note && h("p", { class: "note" }, note)),
    content,
  );
}

// Change of a measure against the earlier period, at equal age; rows have both sides as `pair`.
function changeColumn(name) {
  return {
    id: `${name}_change`,
    label: t("change.column"),
    hint: t("change.column.hint"),
    numeric: true,
    value: (row) =>
      row.pair ? changeOf(measureOf(name, row.pair.now), measureOf(name, row.pair.then)) : null,
    inTotal: true,
    cell: (row) => changeTag(name, row.pair),
  };
}

function fillTile(tile, name, now, whole) {
  const value = measureOf(name, now);
  const earlier = whole ? measureOf(name, whole.then) : null;
  const text =
    name === "spend" && value >= 10000
      ? money(value, DATA.currency, 0)
      : MEASURES[name].format(value);
  const against =
    value === null && isByNumber() && name !== "leads"
      ? t("notice.by_number.short")
      : value === null && holdsUnread(state.range)
        ? t("unread.dash")
        : earlier !== null
          ? t("overview.before", { value: MEASURES[name].format(earlier) })
          : t("overview.no_before");
  const figure = figureOf(text, value, name);
  fill(
    tile,
    h("p", { class: "name" }, t(`measure.${name}`)),
    h(
      "p",
      { class: "big" },
      STAGE_OF[name] && value > 0
        ? h("a", { class: "drill", href: leadsOf({}, name) }, figure)
        : figure,
    ),
    h("p", { class: "against" }, changeTag(name, whole), " ", against),
  );
}

// What changes how the figures of a page are read, in sentences.
function fillNotice(notice, range, mask, level, { young: hasYoung = true } = {}) {
  const lines = [];
  const [from, to] = state.range;
  if (isByNumber()) lines.push(t("notice.by_number"));
  const { campaigns: unlisted, ads } = DATA.others;
  if (unlisted + ads > 0 && ["campaigns", "creatives"].includes(state.page))
    lines.push(t("notice.others", { campaigns: number(unlisted), ads: number(ads) }));
  if (range[1] < range[0]) {
    lines.push(t("notice.none_ripe", { days: number(Number(state.within)) }));
  } else {
    const last = state.within === "ever" ? to : Math.min(to, AS_OF - Number(state.within) - 1);
    if (state.within !== "ever" && last < to)
      lines.push(
        t("notice.ripe_only", { days: number(Number(state.within)), period: span([from, last]) }),
      );
    if (range[0] !== from || range[1] !== last)
      lines.push(t("notice.whole_periods", { period: span(range) }));
    if (state.within === "ever" && hasYoung) {
      const leads = sums({ level, range, mask, names: ["leads"] }).leads[0];
      const young = [Math.max(range[0], AS_OF - 30), range[1]];
      const recent =
        young[0] <= young[1] ? sums({ level, range: young, mask, names: ["leads"] }).leads[0] : 0;
      if (recent > 0)
        lines.push(
          t("notice.young", {
            leads: number(leads),
            young: number(recent),
            share: percent(ratio(recent, leads), 0),
          }),
        );
    }
  }
  notice.hidden = lines.length === 0;
  fill(
    notice,
    lines.map((line) => h("p", {}, line)),
  );
}

// Weeks and months of which only a part is shown are marked, in the label and in the table.
function labels(series) {
  return series.keys.map(
    (start, at) => `${bucketName(start, series.grain)}${series.isPart[at] ? " *" : ""}`,
  );
}

function longLabel(series, at) {
  const start = series.keys[at];
  const name =
    series.grain === "day"
      ? date(start)
      : series.grain === "month"
        ? date(start, { month: "long", year: "numeric" })
        : series.grain === "year"
          ? date(start, { year: "numeric" })
          : t("cohort.week", { date: date(start) });
  return series.isPart[at] ? t("chart.part", { name, days: number(series.days[at]) }) : name;
}

function costChart(series, rows) {
  const spend = rows.map((row) => measureOf("spend", row));
  const cpql = rows.map((row) => measureOf("cpql", row));
  return {
    summary: extremes(t("measure.cpql"), series, cpql, (v) => money(v)),
    columns: [t("chart.period"), measured("spend"), measured("cpql")],
    rows: rows.map((_, at) => [longLabel(series, at), spend[at], cpql[at]]),
    option: {
      xAxis: categoryAxis(labels(series)),
      yAxis: [valueAxis(shortMoney), valueAxis(shortMoney, { splitLine: { show: false } })],
      tooltip: tooltip((points) => {
        const at = points[0].dataIndex;
        return [
          longLabel(series, at),
          ...["spend", "qualified", "cpql"].map((name) => [
            t(`measure.${name}`),
            MEASURES[name].format(measureOf(name, rows[at])),
          ]),
        ];
      }),
      series: [
        bars(t("measure.spend"), spend, "c-spend"),
        line(t("measure.cpql"), cpql, "c-cost", { yAxisIndex: 1 }),
      ],
    },
  };
}

function peopleChart(series, rows) {
  const leads = rows.map((row) => measureOf("leads", row));
  const qualified = rows.map((row) => measureOf("qualified", row));
  return {
    summary: extremes(t("measure.leads"), series, leads, (v) => number(v)),
    columns: [t("chart.period"), ...["leads", "qualified", "rate"].map(measured)],
    rows: rows.map((row, at) => [
      longLabel(series, at),
      leads[at],
      qualified[at],
      measureOf("rate", row),
    ]),
    option: {
      xAxis: categoryAxis(labels(series)),
      yAxis: valueAxis((v) => number(v), { minInterval: 1 }),
      tooltip: tooltip((points) => {
        const at = points[0].dataIndex;
        return [
          longLabel(series, at),
          ...["leads", "qualified", "rate"].map((name) => [
            t(`measure.${name}`),
            MEASURES[name].format(measureOf(name, rows[at])),
          ]),
        ];
      }),
      series: [
        bars(t("measure.leads"), leads, "c-leads", { barGap: "-100%" }),
        bars(t("measure.qualified"), qualified, "c-qualified", { z: 3 }),
      ],
    },
  };
}

const CHANNEL_COLOURS = {
  click_to_whatsapp: "k1",
  paid_search: "k2",
  meta_web: "k3",
  web_other: "k4",
  direct: "k5",
  organic_social: "k6",
  outbound: "k7",
  unknown_ad: "k8",
  click_to_messenger: "k9",
  click_to_instagram: "k10",
  meta_lead_form: "k11",
};

function originChart(series, groups, totals) {
  const width = series.keys.length;
  const known = groups.keys
    .map((key, at) => ({ key, leads: [...totals.leads.slice(at * width, (at + 1) * width)] }))
    .map((one) => ({ ...one, sum: one.leads.reduce((a, b) => a + b, 0) }))
    .filter((one) => one.sum > 0)
    .sort((a, b) => b.sum - a.sum);
  const all = known.reduce((sum, one) => sum + one.sum, 0);
  return {
    summary: known
      .slice(0, 3)
      .map((one) => `${word("channel", one.key)} ${percent(one.sum / all, 0)}`)
      .join(", "),
    columns: [
      t("chart.period"),
      ...known.map((one) => [word("channel", one.key), (v) => number(v)]),
    ],
    rows: known.length
      ? series.keys.map((_, at) => [longLabel(series, at), ...known.map((one) => one.leads[at])])
      : [],
    option: {
      grid: {
        ...chartBase().grid,
        top: legendHeight(known.map((one) => word("channel", one.key))),
      },
      xAxis: categoryAxis(labels(series)),
      yAxis: valueAxis((v) => number(v), { minInterval: 1 }),
      tooltip: tooltip((points) => [
        longLabel(series, points[0].dataIndex),
        ...points
          .filter((point) => point.value > 0)
          .reverse()
          .map((point) => [point.seriesName, number(point.value)]),
      ]),
      series: known.map((one) =>
        bars(word("channel", one.key), one.leads, CHANNEL_COLOURS[one.key] ?? "k8", {
          stack: "leads",
          itemStyle: { color: cssColour(CHANNEL_COLOURS[one.key] ?? "k8") },
        }),
      ),
    },
  };
}

// A chart in one sentence: its lowest and highest points.
function extremes(name, series, values, format) {
  const known = values.map((value, at) => ({ value, at })).filter((point) => isKnown(point.value));
  if (!known.length) return t("chart.unknown", { name });
  const low = known.reduce((a, b) => (b.value < a.value ? b : a));
  const high = known.reduce((a, b) => (b.value > a.value ? b : a));
  return t("chart.extremes", {
    name,
    low: format(low.value),
    low_at: longLabel(series, low.at),
    high: format(high.value),
    high_at: longLabel(series, high.at),
  });
}
