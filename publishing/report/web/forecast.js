// What is expected of young cohorts: shown beside what happened, with its interval (rule R15).

const FORECAST =
  DATA.forecast &&
  (() => {
    const raw = DATA.forecast;
    const texts = Object.fromEntries(
      ["level", "entity", "grain", "basis", "reason", "spend_status"].map((name) => [
        name,
        wordsOf(raw[name]),
      ]),
    );
    const numbers = ["start", "leads", "qualified", "expected", "low", "high"].concat(
      ["cost", "cost_low", "cost_high", "coverage", "is_out_of_range"],
    );
    return raw.start.map((_, at) => ({
      ...Object.fromEntries(Object.entries(texts).map(([name, values]) => [name, values[at]])),
      ...Object.fromEntries(numbers.map((name) => [name, raw[name][at]])),
    }));
  })();
const HORIZON = 90;

// The level that the filters stand for; null where they stand for none that is forecast.
function forecastEntity() {
  const chosen = FILTERS.filter((name) => state[name].length);
  if (chosen.length === 0) return ["company", "all"];
  if (chosen.length > 1 || state[chosen[0]].length > 1) return null;
  const level = { channels: "channel", accounts: "account", campaigns: "campaign" }[chosen[0]];
  return level ? [level, state[chosen[0]][0]] : null;
}

function forecastPart() {
  const chart = chartFigure({
    id: "forecast",
    title: t("forecast.title"),
    note: t("forecast.note"),
    height: 300,
  });
  const notice = h("p", { class: "notice", role: "note" });
  const table = dataTable({
    id: "forecast",
    caption: t("forecast.title"),
    sort: { id: "start", desc: true },
    columns: [
      {
        id: "start",
        label: t("cohorts.born"),
        numeric: true,
        value: (row) => row.start,
        cell: (row) => bucketName(row.start, row.grain),
        csv: (row) => isoOf(row.start),
      },
      { id: "leads", label: t("measure.leads"), numeric: true, value: (row) => row.leads },
      { id: "qualified", label: t("forecast.so_far"), numeric: true, value: (row) => row.qualified },
      {
        id: "expected",
        label: t("forecast.expected", { days: number(HORIZON) }),
        numeric: true,
        value: (row) => row.expected,
        cell: (row) => banded(row.expected, row.low, row.high, (v) => number(v, 0), "expected"),
        also: ends(t("forecast.interval"), (row) => row.low, (row) => row.high),
      },
      {
        id: "cost",
        label: t("forecast.cost"),
        numeric: true,
        value: (row) => row.cost,
        cell: (row) => banded(row.cost, row.cost_low, row.cost_high, (v) => money(v), "cost"),
        also: ends(t("forecast.cost"), (row) => row.cost_low, (row) => row.cost_high),
      },
      {
        id: "basis",
        label: t("forecast.basis"),
        value: (row) =>
          row.reason ? word("forecast_reason", row.reason) : word("forecast_basis", row.basis),
      },
    ],
  });
  const element = h("div", { class: "page" }, notice, chart.element, section(t("forecast.table"), t("forecast.table.note"), table.element));
  return {
    element,
    update() {
      const entity = forecastEntity();
      const grain = entity?.[0] === "campaign" ? "month" : cohortGrain();
      const rows = entity
        ? FORECAST.filter(
            (row) =>
              row.level === entity[0] &&
              row.entity === entity[1] &&
              row.grain === grain,
          )
        : [];
      notice.hidden = rows.length > 0;
      fill(notice, t(entity ? "forecast.none" : "forecast.choose"));
      table.update(rows);
      const tested = rows.find((row) => isKnown(row.coverage));
      table.note(
        tested
          ? t(tested.is_out_of_range ? "forecast.missed" : "forecast.held", {
              share: percent(tested.coverage, 0),
            })
          : null,
      );
      chart.update(forecastChart(rows));
    },
  };
}

function banded(value, low, high, format, name) {
  return h(
    "span",
    { class: "named" },
    h("span", { class: "first" }, figureOf(format(value), value, name)),
    isKnown(low)
      ? h("span", { class: "second" }, t("creatives.interval", { low: format(low), high: format(high) }))
      : null,
  );
}

// Leads that qualified so far, and the band in which those of 90 days are expected.
function forecastChart(rows) {
  const names = [t("forecast.so_far"), t("forecast.expected", { days: number(HORIZON) })];
  return {
    summary: rows
      .slice(-1)
      .map((row) =>
        t("forecast.summary", {
          expected: number(row.expected, 0),
          low: number(row.low, 0),
          high: number(row.high, 0),
        }),
      )
      .join(""),
    columns: [
      t("cohorts.born"),
      measured("leads"),
      [names[0], (v) => number(v)],
      ...[names[1], "10 %", "90 %"].map((label) => [label, (v) => number(v, 1)]),
    ],
    rows: rows.map((row) => [
      bucketName(row.start, row.grain),
      row.leads,
      row.qualified,
      row.expected,
      row.low,
      row.high,
    ]),
    option: {
      grid: { ...chartBase().grid, top: legendHeight(names) },
      xAxis: categoryAxis(rows.map((row) => bucketName(row.start, row.grain))),
      yAxis: valueAxis((v) => number(v), { minInterval: 1 }),
      tooltip: tooltip((points) => {
        const row = rows[points[0].dataIndex];
        return [
          bucketName(row.start, row.grain),
          [t("measure.leads"), number(row.leads)],
          [names[0], number(row.qualified)],
          [names[1], number(row.expected, 1)],
          [t("forecast.interval"), `${number(row.low, 1)} – ${number(row.high, 1)}`],
        ];
      }),
      legend: { ...chartBase().legend, data: names },
      series: [
        bars(
          names[0],
          rows.map((row) => row.qualified),
          "c-qualified",
        ),
        line(
          names[1],
          rows.map((row) => row.expected),
          "c-cost",
          { connectNulls: false },
        ),
        ...["low", "band"].map((part) => ({
          type: "line",
          stack: "interval",
          symbol: "none",
          lineStyle: { opacity: 0 },
          areaStyle: part === "band" ? { color: cssColour("c-cost"), opacity: 0.16 } : { opacity: 0 },
          // Where nothing is expected there is no band, rather than one at 0.
          data: rows.map((row) =>
            !isKnown(row.low) ? null : part === "low" ? row.low : row.high - row.low,
          ),
        })),
      ],
    },
  };
}
