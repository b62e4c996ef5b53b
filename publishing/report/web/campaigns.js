// Campaigns: where the money goes, and where the qualified leads come from.

const SHOWN_CAMPAIGNS = 10;

function campaigns(root) {
  const shares = chartFigure({
    id: "shares",
    title: t("campaigns.shares"),
    note: t("campaigns.shares.note"),
  });
  const table = dataTable({
    id: "campaigns",
    caption: t("page.campaigns"),
    sort: { id: "spend", desc: true },
    search: (row) => `${row.name} ${row.account} ${row.campaign}`,
    columns: [
      { id: "campaign", label: t("campaigns.campaign"), value: (row) => row.name, cell: named },
      measureColumn("spend"),
      measureColumn("clicks"),
      measureColumn("leads"),
      measureColumn("qualified"),
      measureColumn("rate"),
      measureColumn("cpl"),
      measureColumn("cpql"),
      changeColumn("cpql"),
      measureColumn("won_value"),
    ],
  });
  root.append(shares.element, section(t("campaigns.all"), t("campaigns.all.note"), table.element));

  const groups = grouped((e) =>
    FACTS.entities.campaign[e] === null
      ? null
      : `${FACTS.entities.platform[e]} ${FACTS.entities.campaign[e]} ${FACTS.entities.account[e]}`,
  );
  return () => {
    const { rows, total } = rowsOf(groups, describeCampaign);
    table.update(rows, total);
    shares.update(sharesChart(rows, total));
  };
}

function named(row) {
  const more = [
    platformName(row.platform),
    row.account,
    row.status && word("status", row.status),
  ].filter(Boolean);
  return h(
    "span",
    { class: "named" },
    h("span", { class: "first" }, row.name),
    h("span", { class: "second" }, more.join(" · ")),
  );
}

// Rows of the groups that have figures, with what `describe` returns for a group's first entity and
// with the previous period; and the sums of all groups.
function rowsOf(groups, describe) {
  const mask = chosenEntities();
  const before = rangeBefore(state.range);
  const now = sums({ mask, groups, names: [...COST, "clicks", "impressions", "won_value"] });
  const then = before && sums({ mask, groups, range: before, names: COST });
  const rows = groups.first
    .map((entity, at) => ({ entity, ...rowAt(now, at), before: then && rowAt(then, at) }))
    .filter(hasFigures)
    .map((row) => ({ ...row, ...describe(row.entity) }))
    .map((row) =>
      UNREADABLE.has(FACTS.entities.platform[row.entity])
        ? { ...row, spend: Number.NaN, ripe_spend: Number.NaN, clicks: Number.NaN }
        : row,
    );
  const total = { ...rowAt(folded(now, 1, {}), 0), before: then && rowAt(folded(then, 1, {}), 0) };
  return { rows, total };
}

function describeCampaign(e) {
  const platform = FACTS.entities.platform[e];
  const campaign = FACTS.entities.campaign[e];
  return {
    platform,
    campaign,
    name: campaignName(platform, campaign),
    account: accountName(accountAt(FACTS.entities.account[e])),
    status: CAMPAIGNS.get(`${platform} ${campaign}`)?.status ?? null,
  };
}

function sharesChart(rows, total) {
  const shown = rows
    .filter((row) => row.spend > 0 || row.ripe_qualified > 0)
    .sort((a, b) => (b.ripe_spend || 0) - (a.ripe_spend || 0))
    .slice(0, SHOWN_CAMPAIGNS);
  const spend = shown.map((row) => ratio(row.ripe_spend, total.ripe_spend));
  const qualified = shown.map((row) => ratio(row.ripe_qualified, total.ripe_qualified));
  const isTwin = (row) => shown.some((other) => other !== row && other.name === row.name);
  const nameOf = (row) => (isTwin(row) ? `${row.name} · ${row.account}` : row.name);
  const names = [t("campaigns.share_spend"), t("campaigns.share_qualified")];
  const worst = shown
    .map((row, at) => ({ row, gap: (spend[at] || 0) - (qualified[at] || 0) }))
    .sort((a, b) => b.gap - a.gap)[0];
  return {
    height: 80 + shown.length * 38,
    summary:
      worst && worst.gap > 0
        ? t("campaigns.shares.summary", { name: worst.row.name, gap: percent(worst.gap, 0) })
        : "",
    columns: [t("campaigns.campaign"), ...names, t("measure.cpql")],
    rows: shown.map((row, at) => [
      nameOf(row),
      percent(spend[at]),
      percent(qualified[at]),
      money(measureOf("cpql", row)),
    ]),
    option: {
      xAxis: valueAxis((v) => percent(v, 0)),
      yAxis: categoryAxis(shown.map(nameOf), {
        inverse: true,
        axisLine: { show: false },
        axisLabel: {
          color: cssColour("ink-soft"),
          fontFamily: FONT,
          width: innerWidth < 640 ? 110 : 230,
          overflow: "truncate",
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
