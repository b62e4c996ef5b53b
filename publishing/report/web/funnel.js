// Funnel: from impressions to won customers, and what the platforms count against what came in.

const FUNNEL = ["impressions", "clicks", "conversations", "leads", "replied", "qualified", "won"];

function funnel(root) {
  const notice = h("div", { class: "notice", role: "note", hidden: true });
  const chart = chartFigure({
    id: "funnel",
    title: t("funnel.steps"),
    note: t("funnel.steps.note"),
    height: 320,
  });
  const tableOf = (id, label) =>
    dataTable({
      id,
      caption: label,
      sort: { id: "leads", desc: true },
      columns: [
        { id, label, value: (row) => row.title, cell: (row) => named({ ...row, href: null }) },
        ...FUNNEL.map((name) => measureColumn(name)),
        {
          id: "per_conversation",
          label: t("funnel.per_conversation"),
          hint: t("funnel.per_conversation.hint"),
          numeric: true,
          value: (row) => ratio(row.leads, row.conversations),
          format: (v) => percent(v, 0),
          inTotal: true,
        },
      ],
    });
  const channels = tableOf("funnel_channels", t("filter.channel"));
  const accounts = tableOf("funnel_accounts", t("filter.account"));
  root.append(
    notice,
    chart.element,
    section(t("overview.channels"), t("funnel.channels.note"), channels.element),
    section(t("funnel.accounts"), t("funnel.accounts.note"), accounts.element),
  );
  return () => {
    const level = levelFor("total");
    const mask = chosenEntities();
    const range = shownRange(level);
    const rows = (groups, describe) => {
      const found = sums({ level, range, mask, groups, names: [...FUNNEL, "spend"] });
      const made = groups.keys
        .map((key, at) => ({ ...rowAt(found, at), ...describe(key) }))
        .filter((row) => hasFigures(row) || row.conversations > 0);
      return [made, { ...rowAt(folded(found, 1, {}), 0), drill: {} }];
    };
    const byChannel = grouped(level, (e) => ENTITIES.channel[e]);
    const [made, total] = rows(byChannel, (key) => ({
      title: word("channel", key),
      drill: { channels: [key] },
    }));
    channels.update(made, total);
    accounts.update(
      ...rows(
        grouped(level, (e) => accountAt(ENTITIES.account[e]).key),
        (key) => {
          const account = ACCOUNTS.find((one) => one.key === key);
          return {
            title: accountName(account),
            platform: account.platform,
            drill: { accounts: [key] },
          };
        },
      ),
    );
    const paid = chosenEntities().map((fits, e) => fits && ENTITIES.platform[e] !== null);
    chart.update(funnelChart(sums({ level, range, mask: paid, names: FUNNEL })));
    fillNotice(notice, range, mask, level, { young: false });
  };
}

// Who qualifies need not have replied: both are shares of the leads.
const STEP_BEFORE = {
  clicks: "impressions",
  conversations: "clicks",
  leads: "conversations",
  replied: "leads",
  qualified: "leads",
  won: "qualified",
};

// Steps differ by orders of magnitude: bars on a logarithmic scale.
function funnelChart(totals) {
  const values = FUNNEL.map((name) => totals[name][0]);
  const shares = FUNNEL.map((name) =>
    STEP_BEFORE[name] ? ratio(totals[name][0], totals[STEP_BEFORE[name]][0]) : null,
  );
  const told = FUNNEL.map((name, at) => [
    t(`measure.${name}`),
    number(values[at]),
    percent(shares[at]),
  ]);
  return {
    summary: told.map(([name, value]) => `${name} ${value}`).join(", "),
    columns: [
      t("funnel.step"),
      [t("health.count"), (v) => number(v)],
      [t("funnel.share"), (v) => percent(v)],
    ],
    rows: values.some((value) => value > 0)
      ? FUNNEL.map((name, at) => [t(`measure.${name}`), values[at], shares[at]])
      : [],
    option: {
      grid: { ...chartBase().grid, top: 8, right: 90 },
      legend: { show: false },
      xAxis: {
        type: "log",
        min: 0.5,
        axisLabel: { show: false },
        splitLine: { show: false },
      },
      yAxis: categoryAxis(
        FUNNEL.map((name) => t(`measure.${name}`)),
        { inverse: true, axisLine: { show: false } },
      ),
      tooltip: tooltip((points) => {
        const [name, value, share] = told[points[0].dataIndex];
        return [name, [t("health.count"), value], [t("funnel.share"), share]];
      }),
      series: [
        bars(
          t("health.count"),
          values.map((value) => (value > 0 ? value : null)),
          "c-qualified",
          {
            itemStyle: { color: cssColour("c-qualified"), borderRadius: [0, 3, 3, 0] },
            label: {
              show: true,
              position: "right",
              color: cssColour("ink-soft"),
              formatter: (point) =>
                `${told[point.dataIndex][1]}${point.dataIndex ? ` · ${told[point.dataIndex][2]}` : ""}`,
            },
          },
        ),
      ],
    },
  };
}
