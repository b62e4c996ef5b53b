// Creatives: what each ad costs per qualified lead, the verdict on it, and what to shift.

const VERDICTS = ["scale", "hold", "cut", "not_enough_data"];

// The board of ads, ad sets or campaigns; null where the marts have none.
function boardOf(name) {
  const board = DATA.boards[name];
  if (!board) return null;
  const texts = Object.fromEntries(
    ["platform", "id", "verdict", "code", "account", "currency"].map((column) => [
      column,
      wordsOf(board[column]),
    ]),
  );
  const [leads, qualified, spend, unread] = ["leads", "qualified", "spend", "unread_days"].map(
    (column) => numbersOf(board[column]),
  );
  const numbers = ["rate", "low", "high", "cost_low", "cost_high", "peer_cost", "peer_qualified"];
  return board.window.map((window, at) => ({
    window,
    ...Object.fromEntries(Object.entries(texts).map(([column, values]) => [column, values[at]])),
    ...Object.fromEntries(numbers.map((column) => [column, board[column][at]])),
    leads: leads[at],
    qualified: qualified[at],
    spend: spend[at] / unitOf(board.spend),
    unread_days: unread[at],
  }));
}

const BOARD = boardOf("ad");
const BOARDS = { campaign: boardOf("campaign"), adset: boardOf("adset") };
const verdictsOf = (board) =>
  new Map(
    (board ?? [])
      .filter((row) => row.window === boardWindow())
      .map((row) => [keyOf(row.platform, row.id), row]),
  );

function verdictColumn() {
  return {
    id: "verdict",
    label: t("creatives.verdict"),
    value: (row) => row.verdict && String(VERDICTS.indexOf(row.verdict.verdict)),
    cell: (row) => verdictCell(row.verdict),
    csv: (row, isRaw) =>
      row.verdict && (isRaw ? row.verdict.verdict : word("verdict", row.verdict.verdict)),
    also: ends(t("creatives.interval.name"), (row) => row.verdict?.low, (row) => row.verdict?.high),
  };
}

const BOARD_WINDOWS = [...new Set((BOARD ?? []).map((row) => row.window))].sort((a, b) => a - b);
const USUAL_WINDOW = BOARD_WINDOWS.includes(90) ? 90 : BOARD_WINDOWS[0];
const boardWindow = () => (state.board === "auto" ? USUAL_WINDOW : Number(state.board));

function creatives(root) {
  const trail = h("nav", { class: "trail", "aria-label": t("campaigns.trail") });
  const notice = h("div", { class: "notice", role: "note", hidden: true });
  const parts = [trail, notice];
  let intervals = null;
  if (BOARD?.length) {
    const tools =
      BOARD_WINDOWS.length > 1
        ? choice(
            "board-window",
            t("creatives.window"),
            String(boardWindow()),
            BOARD_WINDOWS.map((days) => [String(days), t("within.days", { days: number(days) })]),
            (value) => change({ board: Number(value) === USUAL_WINDOW ? "auto" : value }),
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
    search: (row) => `${row.headline ?? ""} ${row.name} ${row.campaignName} ${row.id}`,
    columns: [
      {
        id: "creative",
        label: t("creatives.creative"),
        value: (row) => row.title,
        cell: creativeCell,
        also: [
          [t("csv.id"), (row) => row.key],
          [t("csv.ad"), (row) => row.name],
          [t("campaigns.campaign"), (row) => row.campaignName],
          [t("filter.account"), (row) => row.account],
        ],
      },
      ...(BOARD?.length ? [verdictColumn()] : []),
      measureColumn("spend"),
      measureColumn("leads"),
      measureColumn("qualified"),
      measureColumn("rate"),
      measureColumn("cpl"),
      measureColumn("cpql"),
      measureColumn("won"),
      measureColumn("won_value"),
    ],
  });
  root.append(...parts, section(t("creatives.all"), t("creatives.all.note"), table.element));

  return () => {
    const level = "ad";
    const groups = grouped(level, (e) => `${ENTITIES.platform[e]} ${ENTITIES.ad[e]}`);
    const verdicts = verdictsOf(BOARD);
    const { rows, total } = rowsOf(level, groups, describeAd);
    for (const row of rows) row.verdict = verdicts.get(row.key) ?? null;
    table.update(rows, total);
    intervals?.update(intervalChart(judged(groups, verdicts)));
    shift?.update(boardWindow());
    fillNotice(notice, shownRange(level), chosenEntities(), level);
    fillTrail(trail);
  };
}

function describeAd(e) {
  const platform = ENTITIES.platform[e];
  const ad = ENTITIES.ad[e];
  const known = ADS.get(`${platform} ${ad}`);
  const key = keyOf(platform, ad);
  const name = adName(platform, ad);
  return {
    platform,
    ad,
    key,
    id: ad ?? "",
    account: ad === null ? "" : accountName(accountAt(ENTITIES.account[e])),
    name,
    title: known?.headline ?? name,
    headline: known?.headline ?? null,
    media: known?.media ?? null,
    picture: known?.picture ?? null,
    campaignName: campaignName(platform, known?.campaign ?? ENTITIES.campaign[e]),
    drill: { ads: [key] },
    href: () => address({ page: "leads", ads: [key], stage: "all" }),
  };
}

// Ads that pass the filters and have a verdict, whether or not the period has figures.
function judged(groups, verdicts) {
  const mask = chosenEntities();
  const through = new Set();
  groups.of.forEach((group, e) => {
    if (group >= 0 && mask[e]) through.add(group);
  });
  return [...through]
    .map((group) => describeAd(groups.first[group]))
    .map((row) => ({ ...row, verdict: verdicts.get(row.key) ?? null }));
}

// This page makes no requests: a picture is in it, or an icon takes its place.
function thumbnail(row) {
  const what = word("media", row.media ?? "text");
  return row.picture
    ? h("img", { class: "thumb", src: row.picture, alt: what, width: 40, height: 40 })
    : h("span", { class: "thumb", role: "img", "aria-label": what }, icon(row.media ?? "text"));
}

function creativeCell(row) {
  const first = row.title;
  const more = [...new Set([row.name, row.campaignName, row.twin])].filter(
    (text) => text && text !== first,
  );
  return h(
    "span",
    { class: "creative" },
    thumbnail(row),
    h(
      "span",
      { class: "named" },
      h("a", { class: "first", href: row.href() }, first),
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
    h(
      "details",
      { class: "reason" },
      h("summary", {}, t("creatives.why")),
      h("p", {}, reasonOf(verdict)),
    ),
  );
}

// Why a verdict is what it is, from the columns that the mart's own sentence is made of.
function reasonOf(verdict) {
  const sum = (value) => money(value, verdict.currency ?? DATA.currency);
  const values = {
    leads: number(verdict.leads),
    qualified: number(verdict.qualified),
    spend: verdict.currency ? sum(verdict.spend) : NOTHING,
    low: percent(verdict.low, 0),
    high: percent(verdict.high, 0),
    cost_low: sum(verdict.cost_low),
    cost_high: sum(verdict.cost_high),
    peer_cost: sum(verdict.peer_cost),
    peers: number(verdict.peer_qualified),
  };
  const code = verdict.code ?? guessedCode(verdict);
  const texts = [];
  if (["scale", "hold", "cut"].includes(code))
    texts.push(t(verdict.leads ? "reason.figures" : "reason.no_leads", values));
  texts.push(t(`reason.${code}`, values));
  if (verdict.unread_days > 0) texts.push(t("reason.unread", { days: number(verdict.unread_days) }));
  return texts.join(" ");
}

// Marts of an older version have no code; what they have says as much.
function guessedCode(verdict) {
  if (verdict.verdict !== "not_enough_data") return verdict.verdict;
  if (verdict.account === null) return "no_account";
  if (verdict.currency === null) return "currencies";
  return isKnown(verdict.peer_cost) ? "few_leads" : "no_peers";
}
