// The likely rate of each ad: a bar for its interval, and a dot.

const SHOWN_INTERVALS = 14;
const VERDICT_COLOURS = {
  scale: "good",
  hold: "c-qualified",
  cut: "bad",
  not_enough_data: "muted",
};

function intervalChart(rows) {
  const shown = tellApart(rows, (row) => row.id)
    .filter((row) => row.verdict && isKnown(row.verdict.low) && isKnown(row.verdict.high))
    .sort((a, b) => b.verdict.leads - a.verdict.leads)
    .slice(0, SHOWN_INTERVALS)
    .sort((a, b) => (b.verdict.rate ?? 0) - (a.verdict.rate ?? 0));
  const colourOf = (verdict) => cssColour(VERDICT_COLOURS[verdict] ?? "muted");
  const given = VERDICTS.filter((verdict) => shown.some((row) => row.verdict.verdict === verdict));
  const names = given.map((verdict) => word("verdict", verdict));
  const best = shown[0];
  const told = (row) => [...new Set([row.title, row.name, row.twin])].filter(Boolean).join(" – ");
  return {
    height: 90 + shown.length * 30,
    summary: best
      ? t("creatives.intervals.summary", {
          name: told(best),
          low: percent(best.verdict.low, 0),
          high: percent(best.verdict.high, 0),
        })
      : "",
    columns: [
      t("creatives.creative"),
      t("creatives.verdict"),
      measured("leads"),
      ...[t("measure.rate"), "5 %", "95 %"].map((label) => [label, (v) => percent(v)]),
    ],
    rows: shown.map((row) => [
      told(row),
      word("verdict", row.verdict.verdict),
      row.verdict.leads,
      row.verdict.rate,
      row.verdict.low,
      row.verdict.high,
    ]),
    option: {
      grid: { ...chartBase().grid, top: legendHeight(names) },
      legend: { ...chartBase().legend, data: names },
      xAxis: valueAxis((v) => percent(v, 0), { min: 0 }),
      yAxis: categoryAxis(
        shown.map(told),
        {
          inverse: true,
          axisLine: { show: false },
          axisLabel: {
            color: cssColour("ink-soft"),
            fontFamily: FONT,
            width: innerWidth < 640 ? 120 : 240,
            overflow: "truncate",
          },
        },
      ),
      tooltip: tooltip((points) => {
        const row = shown[points.find((point) => point.seriesType === "bar").dataIndex];
        return [
          told(row),
          [t("creatives.verdict"), word("verdict", row.verdict.verdict)],
          [t("measure.leads"), number(row.verdict.leads)],
          [t("measure.rate"), percent(row.verdict.rate)],
          [
            t("creatives.interval.name"),
            `${percent(row.verdict.low)} – ${percent(row.verdict.high)}`,
          ],
        ];
      }),
      series: [
        {
          type: "bar",
          stack: "interval",
          itemStyle: { color: "transparent" },
          data: shown.map((row) => row.verdict.low),
          barMaxWidth: 8,
        },
        {
          type: "bar",
          stack: "interval",
          barMaxWidth: 8,
          data: shown.map((row) => ({
            value: row.verdict.high - row.verdict.low,
            itemStyle: { color: colourOf(row.verdict.verdict), opacity: 0.32, borderRadius: 4 },
          })),
        },
        ...given.map((verdict) => ({
          type: "scatter",
          name: word("verdict", verdict),
          symbolSize: 11,
          z: 4,
          itemStyle: { color: colourOf(verdict) },
          data: shown.flatMap((row, at) =>
            row.verdict.verdict === verdict ? [[row.verdict.rate, at]] : [],
          ),
        })),
      ],
    },
  };
}
