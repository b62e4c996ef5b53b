// Cohorts: leads by week or month of first touch, and how they mature.

const COHORT_VIEWS = ["rate", "qualified", "cpql"];

function cohorts(root) {
  const grain = choice(
    "cohort-grain",
    t("grain.label"),
    cohortGrain(),
    ["week", "month"].map((name) => [name, t(`grain.${name}`)]),
    (value) => change({ grain: value }),
  );
  const view = choice(
    "cohort-view",
    t("cohorts.view"),
    state.view,
    COHORT_VIEWS.map((name) => [name, t(`measure.${name}`)]),
    (value) => change({ view: value }),
  );
  const curve = chartFigure({
    id: "cohorts",
    title: t("cohorts.curve"),
    note: t("cohorts.curve.note"),
    height: 300,
    tools: grain,
  });
  const table = h("div", {
    class: "table-frame",
    role: "region",
    tabindex: "0",
    "aria-label": t("cohorts.table"),
  });
  const expected = FORECAST ? forecastPart() : null;
  let given = null;
  const download = downloadMenu("cohorts", () => given);
  root.append(
    ...(expected ? [expected.element] : []),
    curve.element,
    h(
      "section",
      { class: "card" },
      h(
        "div",
        { class: "title with-tools" },
        h(
          "div",
          {},
          h("h2", {}, t("cohorts.table")),
          h("p", { class: "note" }, t("cohorts.table.note")),
        ),
        view,
      ),
      h("div", { class: "table-tools" }, download),
      table,
      h(
        "p",
        { class: "legend" },
        h("span", { class: "immature sample" }, "12 %"),
        " ",
        t("cohorts.immature"),
      ),
    ),
  );

  function update() {
    const level = levelFor("total");
    const range = wholePeriods(state.range, level);
    const series = bucketsOf(range, cohortGrain());
    const mask = chosenEntities();
    const ages = [...WINDOWS.map(String), "ever"];
    const totals = Object.fromEntries(
      ages.map((age) => [
        age,
        sums({
          level,
          range,
          mask,
          buckets: series,
          within: age,
          names: age === "ever" ? COST : ["qualified"],
        }),
      ]),
    );
    const cells = series.keys.map((start, at) => cohortRow(series, at, ages, totals));
    fill(table, cohortTable(series, cells, ages));
    given = {
      columns: [
        { label: t("cohorts.born"), value: (row) => longLabel(series, row.at) },
        { label: t("measure.spend"), value: (row) => row.spend },
        { label: t("measure.leads"), value: (row) => row.leads },
        ...ages.map((age, at) => ({
          label: `${t(`measure.${state.view}`)}: ${ageName(age)}`,
          value: (row) => row.ages[at][state.view],
        })),
      ],
      rows: cells.filter(hasCohort),
    };
    curve.update(cohortChart(series, cells, ages));
    expected?.update();
  }
  return update;
}

function cohortGrain() {
  if (["week", "month"].includes(state.grain)) return state.grain;
  return state.range[1] - state.range[0] > 200 ? "month" : "week";
}

// A cohort is mature for a window once its last day is; until then its figures still grow. The
// figures shown cover all of its days, whatever their age.
function cohortRow(series, at, ages, totals) {
  const lastDay = Math.min(state.range[1], nextStart(series.keys[at], series.grain) - 1);
  const { spend, leads } = rowAt(totals.ever, at);
  const all = allQualified(at, totals);
  return {
    at,
    spend,
    leads,
    ages: ages.map((age) => ({
      age,
      qualified: all[age],
      rate: ratio(all[age], leads),
      cpql: costOf(spend, all[age]),
      isMature: age !== "ever" && lastDay + Number(age) < AS_OF,
    })),
  };
}

function allQualified(at, totals) {
  return Object.fromEntries(
    Object.entries(totals).map(([age, total]) => [age, total.qualified[at]]),
  );
}

const ageName = (age) =>
  age === "ever" ? t("within.ever") : t("within.days", { days: number(Number(age)) });

const hasCohort = (row) => row.leads > 0 || row.spend !== 0;

function cohortTable(series, cells, ages) {
  const format = MEASURES[state.view].format;
  const highest = Math.max(0, ...cells.flatMap((row) => row.ages.map((one) => one.rate ?? 0)));
  const body = cells
    .filter(hasCohort)
    .map((row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, longLabel(series, row.at)),
        h("td", { class: "number" }, figureOf(money(row.spend), row.spend, "spend")),
        h("td", { class: "number" }, figureOf(number(row.leads), row.leads, "leads")),
        row.ages.map((one) => {
          const isYoung = one.age !== "ever" && !one.isMature;
          const heat =
            state.view === "rate" && highest > 0 && isKnown(one.rate)
              ? Math.round((one.rate / highest) * 8)
              : 0;
          return h(
            "td",
            { class: `number heat-${heat}${isYoung ? " immature" : ""}` },
            figureOf(format(one[state.view]), one[state.view], `${state.view}_${one.age}`),
            isYoung ? aside(t("cohorts.immature.short")) : null,
          );
        }),
      ),
    );
  return h(
    "table",
    { id: "table-cohorts" },
    h("caption", { class: "unseen" }, t("cohorts.table")),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, t("cohorts.born")),
        h("th", { scope: "col", class: "number" }, t("measure.spend")),
        h("th", { scope: "col", class: "number" }, t("measure.leads")),
        ages.map((age) => h("th", { scope: "col", class: "number" }, ageName(age))),
      ),
    ),
    h(
      "tbody",
      {},
      body.length
        ? body
        : h("tr", {}, h("td", { colspan: ages.length + 3, class: "empty" }, t("table.empty"))),
    ),
  );
}

function cohortChart(series, cells, ages) {
  const shown = cells.filter((row) => row.leads > 0);
  const tone = (at) => ["k4", "k3", "k2", "k1", "muted"][at];
  return {
    summary: t("cohorts.curve.summary"),
    columns: [t("cohorts.born"), ...ages.map((age) => [ageName(age), (v) => percent(v)])],
    rows: shown.map((row) => [longLabel(series, row.at), ...row.ages.map((one) => one.rate)]),
    option: {
      grid: { ...chartBase().grid, top: legendHeight(ages.map(ageName)) },
      xAxis: categoryAxis(
        shown.map((row) => bucketName(series.keys[row.at], series.grain)),
        { boundaryGap: false },
      ),
      yAxis: valueAxis((v) => percent(v, 0)),
      tooltip: tooltip((points) => {
        const row = shown[points[0].dataIndex];
        return [
          longLabel(series, row.at),
          [t("measure.leads"), number(row.leads)],
          ...row.ages.map((one) => [
            ageName(one.age),
            one.age === "ever" || one.isMature ? percent(one.rate) : `${percent(one.rate)} ◔`,
          ]),
        ];
      }),
      series: ages.map((age, at) =>
        line(
          ageName(age),
          shown.map((row) =>
            row.ages[age === "ever" ? 0 : at].isMature ? row.ages[at].rate : null,
          ),
          tone(at),
          age === "ever"
            ? {
                lineStyle: { width: 1.5, type: "dashed", color: cssColour("muted") },
                symbol: "none",
              }
            : {},
        ),
      ),
    },
  };
}
