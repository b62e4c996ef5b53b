// Figures: an ECharts chart, a sentence that says what it shows, and its numbers as a table.

const liveCharts = new Set();
const cssColour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const resizing = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    target.chart?.resize();
    target.placeMarks?.();
  }
});

// `update({option, summary, columns, rows, marks?})`: ECharts' option, the sentence, the numbers, and
// what is to be known of some periods (marks.js). A column is its label, or [label, format].
function chartFigure({ id, title, note = null, height = 280, tools = null }) {
  const canvas = h("div", { class: "canvas", role: "img" });
  canvas.style.height = `${height}px`; // set by script: the content policy refuses style attributes
  const nothing = h("p", { class: "empty", hidden: true }, t("chart.empty"));
  const alternative = h("div", {
    class: "table-frame",
    role: "region",
    tabindex: "0",
    "aria-label": `${title}: ${t("chart.as_table")}`, // a table beside the chart may have its title
  });
  const details = h(
    "details",
    { class: "alternative" },
    h("summary", {}, t("chart.as_table")),
    h(
      "div",
      { class: "table-tools" },
      downloadMenu(id, () => ({
        columns: labelled(given.columns).map(([label], at) => ({ label, value: (row) => row[at] })),
        rows: given.rows,
      })),
    ),
    alternative,
  );
  const marked = markedChart(canvas);
  canvas.placeMarks = marked.place;
  let given = null;
  const writeAlternative = () => {
    if (details.open && given) fill(alternative, plainTable(title, given.columns, given.rows));
  };
  details.addEventListener("toggle", writeAlternative);
  const element = h(
    "figure",
    { class: "card chart", id: `chart-${id}` },
    h(
      "figcaption",
      {},
      h("div", { class: "title" }, h("h2", {}, title), note && h("p", { class: "note" }, note)),
      tools,
    ),
    h("div", { class: "canvas-frame" }, canvas, marked.layer),
    nothing,
    marked.list,
    details,
  );
  liveCharts.add(canvas);
  return {
    element,
    update(next) {
      given = next;
      const isEmpty = next.rows.length === 0;
      canvas.hidden = isEmpty;
      details.hidden = isEmpty;
      nothing.hidden = !isEmpty;
      canvas.setAttribute("aria-label", `${title}. ${next.summary}`);
      marked.show(isEmpty ? [] : next.marks);
      writeAlternative();
      if (isEmpty) return;
      if (next.height) canvas.style.height = `${next.height}px`;
      if (!canvas.chart) {
        canvas.chart = charts.init(canvas, null, {
          renderer: "canvas",
          devicePixelRatio: Math.max(2, devicePixelRatio),
        });
        resizing.observe(canvas);
      }
      canvas.chart.setOption(
        { ...chartBase(), ...next.option },
        { notMerge: true, lazyUpdate: false },
      );
      marked.place();
    },
  };
}

const labelled = (columns) =>
  columns.map((column) => (Array.isArray(column) ? column : [column, (value) => value]));

function plainTable(caption, given, rows) {
  const columns = labelled(given);
  return h(
    "table",
    {},
    h("caption", { class: "unseen" }, caption),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map(([label], at) => h("th", { scope: "col", class: at ? "number" : null }, label)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map((cells) =>
        h(
          "tr",
          {},
          cells.map((value, at) => {
            const cell = columns[at][1](value);
            return at ? h("td", { class: "number" }, cell) : h("th", { scope: "row" }, cell);
          }),
        ),
      ),
    ),
  );
}

function disposeCharts() {
  for (const canvas of liveCharts) {
    resizing.unobserve(canvas);
    canvas.chart?.dispose();
  }
  liveCharts.clear();
}

const FONT =
  'Inter, "Segoe UI", system-ui, -apple-system, Roboto, "Helvetica Neue", Arial, sans-serif';

function chartBase() {
  return {
    animation: false,
    textStyle: { fontFamily: FONT, color: cssColour("muted"), fontSize: 12 },
    grid: { left: 4, right: 8, top: 40, bottom: 2, containLabel: true },
    legend: {
      left: 0,
      top: 0,
      itemWidth: 12,
      itemHeight: 8,
      itemGap: 18,
      icon: "roundRect",
      type: "plain",
      textStyle: { color: cssColour("ink-soft"), fontFamily: FONT },
    },
  };
}

// Room for a legend of several lines, which ECharts does not provide.
function legendHeight(names) {
  const room = Math.min(innerWidth, 1240) - (innerWidth > 860 ? 330 : 64);
  let lines = 1;
  let used = 0;
  for (const width of names.map((name) => 30 + name.length * 6.6)) {
    if (used + width > room) {
      lines += 1;
      used = 0;
    }
    used += width + 8;
  }
  return 18 + lines * 22;
}

function tooltip(lines, trigger = "axis") {
  return {
    trigger,
    confine: true,
    transitionDuration: 0,
    axisPointer: { type: "shadow", shadowStyle: { color: cssColour("hover") } },
    backgroundColor: cssColour("surface"),
    borderColor: cssColour("line"),
    borderWidth: 1,
    padding: 0,
    // An element, not HTML: names from the data are text, and no style attribute is needed.
    formatter: (points) => {
      const [head, ...rows] = lines(Array.isArray(points) ? points : [points]);
      return h(
        "div",
        { class: "tip" },
        h("strong", {}, head),
        h(
          "dl",
          {},
          rows.map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]),
        ),
      );
    },
  };
}

function categoryAxis(data, more = {}) {
  return {
    type: "category",
    data,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: cssColour("line") } },
    axisLabel: { color: cssColour("muted"), fontFamily: FONT, hideOverlap: true },
    ...more,
  };
}

function valueAxis(format, more = {}) {
  return {
    type: "value",
    splitNumber: 4,
    axisLabel: {
      color: cssColour("muted"),
      fontFamily: FONT,
      formatter: format,
      hideOverlap: true,
    },
    splitLine: { lineStyle: { color: cssColour("line-soft") } },
    ...more,
  };
}

function bars(name, data, colour, more = {}) {
  return {
    type: "bar",
    name,
    data,
    itemStyle: { color: cssColour(colour), borderRadius: [3, 3, 0, 0] },
    barMaxWidth: 44,
    ...more,
  };
}

function line(name, data, colour, more = {}) {
  const ink = cssColour(colour);
  return {
    type: "line",
    name,
    data,
    symbol: "circle",
    symbolSize: 5,
    showSymbol: data.length < 40,
    connectNulls: true,
    lineStyle: { width: 2.25, color: ink },
    itemStyle: { color: ink },
    ...more,
  };
}
