// Campaigns, and the ad sets of one: where the money goes, and where the qualified leads come from.

const SHOWN_CAMPAIGNS = 10;

function campaigns(root) {
  const trail = h("nav", { class: "trail", "aria-label": t("campaigns.trail") });
  const notice = h("div", { class: "notice", role: "note", hidden: true });
  const shares = chartFigure({
    id: "shares",
    title: t("campaigns.shares"),
    note: t("campaigns.shares.note"),
  });
  const tables_ = Object.fromEntries(
    ["campaign", "adset"].map((by) => [by, campaignTable(by)]),
  );
  const all = section(t("campaigns.all"), t("campaigns.all.note"), tables_.campaign.element);
  const sets = section(t("campaigns.adsets"), t("campaigns.adsets.note"), tables_.adset.element);
  root.append(trail, notice, shares.element, all, sets);

  return () => {
    const by = state.by === "campaign" ? "campaign" : "adset";
    const level = levelFor(by === "campaign" ? "campaign" : "ad");
    const groups =
      by === "campaign"
        ? grouped(level, (e) => ENTITY_KEYS.campaigns(e))
        : grouped(level, (e) => `${ENTITY_KEYS.campaigns(e)} ${ENTITY_KEYS.adsets(e)}`);
    const { rows, total } = rowsOf(level, groups, by === "campaign" ? describeCampaign : describeAdset);
    all.hidden = by !== "campaign";
    sets.hidden = by === "campaign";
    const verdicts = verdictsOf(BOARDS[by]);
    for (const row of rows) row.verdict = verdicts.get(row.key) ?? null;
    tables_[by].update(rows, total);
    shares.update(sharesChart(rows.filter((row) => row.campaign !== null), total));
    fillNotice(notice, shownRange(level), chosenEntities(), level);
    fillTrail(trail);
  };
}

function campaignTable(by) {
  return dataTable({
    id: by === "campaign" ? "campaigns" : "adsets",
    caption: t(by === "campaign" ? "campaigns.all" : "campaigns.adsets"),
    sort: { id: "spend", desc: true },
    search: (row) => `${row.title} ${row.account} ${row.id}`,
    columns: [
      {
        id: by,
        label: t(by === "campaign" ? "campaigns.campaign" : "campaigns.adset"),
        value: (row) => row.title,
        cell: named,
        also: [
          [t("csv.id"), (row) => row.key],
          [t("filter.account"), (row) => row.account],
        ],
      },
      ...(BOARDS[by]?.length ? [verdictColumn()] : []),
      measureColumn("spend"),
      measureColumn("clicks"),
      measureColumn("leads"),
      measureColumn("qualified"),
      measureColumn("rate"),
      measureColumn("cpl"),
      measureColumn("cpql"),
      changeColumn("cpql"),
      measureColumn("loaded_cpql"),
      measureColumn("answered"),
      measureColumn("won"),
      measureColumn("won_value"),
      measureColumn("roas"),
    ],
  });
}

// Where one has come to, and the way back: all campaigns, a campaign, an ad set, an ad.
function fillTrail(trail) {
  const steps = [[t("campaigns.all"), { page: "campaigns", by: "campaign", campaigns: [], adsets: [], ads: [] }]];
  const [campaign, adset, ad] = [state.campaigns, state.adsets, state.ads].map((chosen) =>
    chosen.length === 1 ? chosen[0] : null,
  );
  const titleOf = (name, key) => OPTIONS[name]().find(([one]) => one === key)?.[1] ?? t("campaign.none");
  if (campaign)
    steps.push([titleOf("campaigns", campaign), { page: "campaigns", by: "adset", adsets: [], ads: [] }]);
  if (adset) steps.push([titleOf("adsets", adset), { page: "creatives", ads: [] }]);
  if (ad) steps.push([titleOf("ads", ad), { page: "leads", stage: "all" }]);
  trail.hidden = steps.length === 1;
  fill(
    trail,
    h(
      "ol",
      {},
      steps.map(([title, to], at) =>
        h(
          "li",
          {},
          h("a", { href: address(to), "aria-current": at === steps.length - 1 ? "location" : null }, title),
        ),
      ),
    ),
  );
}

function named(row) {
  const more = [
    platformName(row.platform),
    row.account,
    row.status && word("status", row.status),
    row.twin,
  ].filter((text) => text && text !== NOTHING);
  return h(
    "span",
    { class: "named" },
    row.href
      ? h("a", { class: "first", href: row.href() }, row.title)
      : h("span", { class: "first" }, row.title),
    h("span", { class: "second" }, more.join(" · ")),
  );
}

// Rows of the groups that have figures, with what `describe` returns for a group's first entity and
// both sides of the comparison; and the sums of all groups.
function rowsOf(level, groups, describe) {
  const mask = chosenEntities();
  const range = shownRange(level);
  const before = periodBefore(range, level);
  const names = [...COST, "message_cost", "clicks", "impressions", "conversations", "replied", "won", "won_value"];
  const now = sums({ level, range, mask, groups, names });
  const compared = comparedSums(level, range, before, { mask, groups });
  const answered = medianAnswers(range, mask, groups);
  const rows = groups.first
    .map((entity, at) => ({
      entity,
      ...rowAt(now, at),
      answered: answered?.of[at] ?? null,
      pair: compared && pairAt(compared, at),
    }))
    .filter(hasFigures)
    .map((row) => ({ ...row, ...describe(row.entity) }))
    .map((row) =>
      UNREADABLE.has(ENTITIES.platform[row.entity])
        ? { ...row, spend: Number.NaN, clicks: Number.NaN, conversations: Number.NaN }
        : row,
    );
  const total = {
    ...rowAt(folded(now, 1, {}), 0),
    answered: answered?.all ?? null,
    pair: compared && {
      now: rowAt(folded(compared.now, 1, {}), 0),
      then: rowAt(folded(compared.then, 1, {}), 0),
    },
    drill: {},
  };
  return { rows: tellApart(rows, (row) => row.id), total };
}

function describeCampaign(e) {
  const platform = ENTITIES.platform[e];
  const campaign = ENTITIES.campaign[e];
  const key = keyOf(platform, campaign);
  return {
    platform,
    campaign,
    key,
    id: campaign ?? "",
    title: campaignName(platform, campaign),
    account: campaign === null ? "" : accountName(accountAt(ENTITIES.account[e])),
    status: CAMPAIGNS.get(`${platform} ${campaign}`)?.status ?? null,
    drill: { campaigns: [key] },
    href: campaign === null ? null : () => address({ by: "adset", campaigns: [key], adsets: [], ads: [] }),
  };
}

function describeAdset(e) {
  const platform = ENTITIES.platform[e];
  const adset = adsetOf(platform, ENTITIES.ad[e]);
  const [campaign, key] = [ENTITY_KEYS.campaigns(e), keyOf(platform, adset)];
  const drill = { campaigns: [campaign], adsets: [key] };
  return {
    platform,
    campaign: ENTITIES.campaign[e],
    key,
    id: adset ?? campaign,
    title: adset === null ? t("campaigns.no_adset") : adsetName(platform, adset),
    account: accountName(accountAt(ENTITIES.account[e])),
    status: null,
    drill,
    href: () => address({ ...drill, page: "creatives", ads: [] }),
  };
}

function sharesChart(rows, total) {
  const shown = rows
    .filter((row) => row.spend > 0 || row.qualified > 0)
    .sort((a, b) => (b.spend || 0) - (a.spend || 0))
    .slice(0, SHOWN_CAMPAIGNS);
  const spend = shown.map((row) => ratio(row.spend, total.spend));
  const qualified = shown.map((row) => ratio(row.qualified, total.qualified));
  const nameOf = (row) => (row.twin ? `${row.title} ${row.twin}` : row.title);
  const isNarrow = innerWidth < 640;
  // What tells twins apart is at the end, which the axis would cut off.
  const labelOf = (row) =>
    row.twin ? `${row.title.slice(0, isNarrow ? 7 : 22).trimEnd()} ${row.twin}` : row.title;
  const names = [t("campaigns.share_spend"), t("campaigns.share_qualified")];
  const worst = shown
    .map((row, at) => ({ row, gap: (spend[at] || 0) - (qualified[at] || 0) }))
    .sort((a, b) => b.gap - a.gap)[0];
  return {
    height: 80 + shown.length * 38,
    summary:
      worst && worst.gap > 0
        ? t("campaigns.shares.summary", { name: nameOf(worst.row), gap: percent(worst.gap, 0) })
        : "",
    columns: [
      t("campaigns.campaign"),
      ...names.map((name) => [name, (v) => percent(v)]),
      measured("cpql"),
    ],
    rows: shown.map((row, at) => [
      nameOf(row),
      spend[at],
      qualified[at],
      measureOf("cpql", row),
    ]),
    option: {
      grid: { ...chartBase().grid, top: legendHeight(names) },
      xAxis: valueAxis((v) => percent(v, 0)),
      yAxis: categoryAxis(shown.map(nameOf), {
        inverse: true,
        axisLine: { show: false },
        axisLabel: {
          color: cssColour("ink-soft"),
          fontFamily: FONT,
          width: isNarrow ? 110 : 230,
          overflow: "truncate",
          formatter: (_, at) => labelOf(shown[at]),
        },
      }),
      tooltip: tooltip((points) => {
        const row = shown[points[0].dataIndex];
        return [
          nameOf(row),
          ...points.map((point) => [point.seriesName, percent(point.value)]),
          ...["spend", "qualified", "cpql"].map((name) => [
            t(`measure.${name}`),
            MEASURES[name].format(measureOf(name, row)),
          ]),
        ];
      }),
      series: [
        bars(names[0], spend, "c-spend", {
          barMaxWidth: 11,
          itemStyle: { color: cssColour("c-spend"), borderRadius: [0, 3, 3, 0] },
        }),
        bars(names[1], qualified, "c-qualified", {
          barMaxWidth: 11,
          itemStyle: { color: cssColour("c-qualified"), borderRadius: [0, 3, 3, 0] },
        }),
      ],
    },
  };
}
