// Creatives: what each ad costs per qualified lead, the verdict on it, and what to shift.

const VERDICTS = ["scale", "hold", "cut", "not_enough_data"];

const BOARD =
  DATA.creative_board &&
  (() => {
    const board = DATA.creative_board;
    const texts = Object.fromEntries(
      ["platform", "ad", "verdict", "reason"].map((name) => [name, wordsOf(board[name])]),
    );
    const [leads, qualified] = ["leads", "qualified"].map((name) => numbersOf(board[name]));
    return board.window.map((window, at) => ({
      window,
      platform: texts.platform[at],
      ad: texts.ad[at],
      verdict: texts.verdict[at],
      reason: texts.reason[at],
      leads: leads[at],
      qualified: qualified[at],
      rate: board.rate[at],
      low: board.low[at],
      high: board.high[at],
    }));
  })();
const BOARD_WINDOWS = [...new Set((BOARD ?? []).map((row) => row.window))].sort((a, b) => a - b);
let boardWindow = BOARD_WINDOWS.includes(90) ? 90 : BOARD_WINDOWS[0];

function creatives(root) {
  const parts = [];
  const verdictOf = () =>
    new Map(
      (BOARD ?? [])
        .filter((row) => row.window === boardWindow)
        .map((row) => [`${row.platform} ${row.ad}`, row]),
    );
  let intervals = null;
  if (BOARD?.length) {
    const tools =
      BOARD_WINDOWS.length > 1
        ? choice(
            "board-window",
            t("creatives.window"),
            String(boardWindow),
            BOARD_WINDOWS.map((days) => [String(days), t("within.days", { days: number(days) })]),
            (value) => {
              boardWindow = Number(value);
              update();
              announce(t("creatives.window"));
            },
          )
        : null;
    intervals = chartFigure({
      id: "intervals",
      title: t("creatives.intervals"),
      note: t("creatives.intervals.note"),
      tools,
    });
    parts.push(intervals.element);
  } else parts.push(h("p", { class: "notice", role: "note" }, t("creatives.no_board")));
  const shift = DATA.budget_shift ? shiftTable() : null;
  if (shift) parts.push(shift.element);
  const table = dataTable({
    id: "creatives",
    caption: t("page.creatives"),
    sort: { id: "spend", desc: true },
    search: (row) => `${row.headline ?? ""} ${row.name} ${row.campaignName} ${row.ad}`,
    columns: [
      {
        id: "creative",
        label: t("creatives.creative"),
        value: (row) => row.headline ?? row.name,
        cell: creativeCell,
      },
      ...(BOARD?.length
        ? [
            {
              id: "verdict",
              label: t("creatives.verdict"),
              value: (row) => row.verdict && String(VERDICTS.indexOf(row.verdict.verdict)),
              cell: (row) => verdictCell(row.verdict),
            },
          ]
        : []),
      measureColumn("spend"),
      measureColumn("leads"),
      measureColumn("qualified"),
      measureColumn("rate"),
      measureColumn("cpl"),
      measureColumn("cpql"),
    ],
  });
  root.append(...parts, section(t("creatives.all"), t("creatives.all.note"), table.element));

  const groups = grouped((e) =>
    FACTS.entities.ad[e] === null ? null : `${FACTS.entities.platform[e]} ${FACTS.entities.ad[e]}`,
  );
  function update() {
    const verdicts = verdictOf();
    const { rows, total } = rowsOf(groups, describeAd);
    for (const row of rows) row.verdict = verdicts.get(`${row.platform} ${row.ad}`) ?? null;
    table.update(rows, total);
    intervals?.update(intervalChart(judged(groups, verdicts)));
    shift?.update(boardWindow);
  }
  return update;
}

function describeAd(e) {
  const platform = FACTS.entities.platform[e];
  const ad = FACTS.entities.ad[e];
  const known = ADS.get(`${platform} ${ad}`);
  return {
    platform,
    ad,
    account: accountName(accountAt(FACTS.entities.account[e])),
    name: adName(platform, ad),
    headline: known?.headline ?? null,
    media: known?.media ?? null,
    campaignName: campaignName(platform, known?.campaign ?? FACTS.entities.campaign[e]),
  };
}

// Ads that pass the filters and have a verdict, whether or not the period has figures.
function judged(groups, verdicts) {
  const mask = chosenEntities();
  const through = new Set();
  groups.of.forEach((group, e) => {
    if (group >= 0 && mask[e]) through.add(group);
  });
  return [...through].map((group) => ({
    ...describeAd(groups.first[group]),
    verdict: verdicts.get(groups.keys[group]) ?? null,
  }));
}

// Images are on the platforms' servers, and this page makes no requests: an icon takes their place.
function creativeCell(row) {
  const first = row.headline ?? row.name;
  const more = [...new Set([row.name, row.campaignName])].filter((text) => text && text !== first);
  return h(
    "span",
    { class: "creative" },
    h(
      "span",
      { class: "thumb", role: "img", "aria-label": word("media", row.media ?? "text") },
      icon(row.media ?? "text"),
    ),
    h(
      "span",
      { class: "named" },
      h("span", { class: "first" }, first),
      h("span", { class: "second" }, more.length ? more.join(" · ") : row.account),
    ),
  );
}

function verdictCell(verdict) {
  if (!verdict) return NOTHING;
  const interval =
    isKnown(verdict.low) && isKnown(verdict.high)
      ? t("creatives.interval", { low: percent(verdict.low, 0), high: percent(verdict.high, 0) })
      : null;
  return h(
    "div",
    { class: "verdict-cell" },
    h(
      "span",
      { class: "judgement" },
      h("span", { class: `verdict ${verdict.verdict}` }, word("verdict", verdict.verdict)),
      interval && h("span", { class: "second" }, interval),
    ),
    verdict.reason &&
      h(
        "details",
        { class: "reason" },
        h("summary", {}, t("creatives.why")),
        h("p", { lang: "en" }, verdict.reason),
      ),
  );
}
