// Marks on a trend: what happened that changes how its periods are read. Numbered on the chart, where each
// is a link, and listed under it.

const LASTING = new Set(["no_source", "never_read"]); // of no day in particular
const MARKED_SHARE = 0.05; // of a period's spend or leads: smaller changes have no mark

// series: buckets of `bucketsOf`. Returns {at, text, page}, in the order of time; `at` is a bucket.
function marksOf(series, range) {
  if (!series.keys.length) return [];
  const made = [
    ...restatedMarks(series, range),
    ...ruleMarks(series, range),
    ...unreadLines()
      .filter((line) => !LASTING.has(line.reason) && unreadIn(line, range))
      .map((line) => ({ at: series.of(Math.min(line.to, range[1])), text: unreadText(line) })),
    ...standing()
      .filter((one) => one.since !== null && one.since >= range[0] && one.since <= range[1])
      .map((one) => ({
        at: series.of(one.since),
        text: t("mark.alarm", { alarm: word("alarm", one.alarm), since: date(one.since) }),
      })),
  ];
  return made.sort((a, b) => a.at - b.at);
}

// Runs of periods of which published figures changed by more than a little, one mark each.
function restatedMarks(series, range) {
  const days = (DATA.restatements?.days ?? []).filter(([day]) => day >= range[0] && day <= range[1]);
  if (!days.length) return [];
  const mask = new Uint8Array(ENTITIES.count).fill(1);
  const whole = sums({ level: "total", range, mask, buckets: series, within: "ever", names: ["spend", "leads"] });
  const changed = new Map();
  for (const [day, on, spend, leads] of days) {
    const at = series.of(day);
    const sum = changed.get(at) ?? { at, from: day, on: 0, spend: 0, leads: 0 };
    Object.assign(sum, { to: day, on: Math.max(sum.on, on), spend: sum.spend + spend, leads: sum.leads + leads });
    changed.set(at, sum);
  }
  const runs = [];
  for (const one of changed.values()) {
    const isMuch =
      one.spend > MARKED_SHARE * whole.spend[one.at] || one.leads > MARKED_SHARE * whole.leads[one.at];
    if (!isMuch) continue;
    const last = runs[runs.length - 1];
    if (last && last.at === one.at - 1)
      Object.assign(last, { at: one.at, to: one.to, on: Math.max(last.on, one.on) });
    else runs.push({ ...one });
  }
  return runs.map((run) => ({
    at: run.at,
    text: t("mark.restated", { days: span([run.from, run.to]), on: date(run.on) }),
  }));
}

const RULES_CHANGED = new Set(["rules", "stage_mapping", "chat_rules"]);
function ruleMarks(series, range) {
  return RESTATED.filter((one) => RULES_CHANGED.has(one.cause) && one.on >= range[0] && one.on <= range[1]).map(
    (one) => ({
      at: series.of(one.on),
      text: t("mark.rules", { cause: word("cause", one.cause), on: date(one.on), days: span(one.days) }),
    }),
  );
}

// The list under a chart, and the layer of links over it that `place` moves to their periods.
function markedChart(canvas) {
  const layer = h("div", { class: "mark-layer" });
  const list = h("ol", { class: "marks" });
  let marks = [];
  return {
    layer,
    list,
    show(next) {
      marks = next ?? [];
      layer.hidden = marks.length === 0;
      list.hidden = marks.length === 0;
      const to = address({ page: "health", tables: {} });
      fill(
        layer,
        marks.map((mark, at) =>
          h("a", { class: "mark-sign", href: to, title: mark.text, "aria-label": `${at + 1}: ${mark.text}` }, String(at + 1)),
        ),
      );
      fill(list, marks.map((mark) => h("li", {}, mark.text)));
    },
    place() {
      if (!marks.length || !canvas.chart) return;
      // Side by side where there is room, else one below the other.
      const rows = [];
      [...layer.children].forEach((sign, place) => {
        const left = Math.round(canvas.chart.convertToPixel({ xAxisIndex: 0 }, marks[place].at)) - 9;
        let row = 0;
        while (rows[row]?.some((other) => Math.abs(other - left) < 20)) row += 1;
        rows[row] = [...(rows[row] ?? []), left];
        sign.style.left = `${left}px`;
        sign.style.top = `${24 + 20 * row}px`;
      });
    },
  };
}
