// Answering: how fast and by whom leads were answered, and whether that goes with qualifying.

function answering(root) {
  const notice = h("div", { class: "notice", role: "note" });
  const tables_ = Object.fromEntries(
    ["answer_time", "answered_by"].map((compared) => [compared, answerTable(compared)]),
  );
  root.append(
    notice,
    section(t("answering.answer_time"), t("answering.note"), tables_.answer_time.element),
    section(t("answering.answered_by"), null, tables_.answered_by.element),
  );
  return () => {
    const rows = answersShown();
    const lines = [t("answering.caution")];
    if (rows.scope !== "all") lines.push(t("answering.scope", { name: rows.name }));
    else if (state.campaigns.length + state.accounts.length > 0) lines.push(t("answering.whole"));
    fill(
      notice,
      lines.map((line) => h("p", {}, line)),
    );
    for (const [compared, table] of Object.entries(tables_))
      table.update(rows.found.filter((row) => row.compared === compared));
  };
}

// The rows of the one campaign or account that is chosen, else those of the whole company.
function answersShown() {
  const all = DATA.answers ?? [];
  const [campaign, account] = [state.campaigns, state.accounts].map((chosen) =>
    chosen.length === 1 ? chosen[0] : null,
  );
  const pick = (scope, key, id) => all.filter((row) => row.scope === scope && keyOf(row.platform, row[id]) === key);
  const byCampaign = campaign ? pick("campaign", campaign, "campaign_id") : [];
  if (byCampaign.length)
    return { scope: "campaign", found: byCampaign, name: OPTIONS.campaigns().find(([key]) => key === campaign)?.[1] };
  const byAccount = account && !campaign ? pick("account", account, "account_id") : [];
  if (byAccount.length)
    return { scope: "account", found: byAccount, name: OPTIONS.accounts().find(([key]) => key === account)?.[1] };
  return { scope: "all", found: all.filter((row) => row.scope === "all") };
}

function answerTable(compared) {
  const points = (value) =>
    isKnown(value) ? `${value > 0 ? "+" : ""}${number(value * 100, 1)}` : NOTHING;
  return dataTable({
    id: compared,
    caption: t(`answering.${compared}`),
    sort: { id: "order", desc: false },
    columns: [
      {
        id: "order",
        label: t(`answering.${compared}`),
        value: (row) => String(row.group_order).padStart(2, "0"),
        cell: (row) => word("answer_group", row.answer_group),
        csv: (row, isRaw) => (isRaw ? row.answer_group : word("answer_group", row.answer_group)),
      },
      { id: "leads", label: t("measure.leads"), numeric: true, value: (row) => row.leads },
      {
        id: "qualified",
        label: t("answering.qualified"),
        numeric: true,
        value: (row) => row.qualified_leads,
      },
      {
        id: "rate",
        label: t("measure.rate"),
        numeric: true,
        value: (row) => row.qualified_rate,
        format: (v) => percent(v),
      },
      {
        id: "difference",
        label: t("answering.difference"),
        hint: t("answering.difference.hint"),
        numeric: true,
        value: (row) => row.rate_difference,
        cell: (row) => figureOf(points(row.rate_difference), row.rate_difference, "difference"),
      },
      {
        id: "interval",
        label: t("answering.interval"),
        numeric: true,
        value: (row) => row.rate_difference_low,
        also: [[t("csv.to", { name: t("answering.interval") }), (row) => row.rate_difference_high]],
        cell: (row) =>
          isKnown(row.rate_difference_low)
            ? t("creatives.interval", {
                low: points(row.rate_difference_low),
                high: points(row.rate_difference_high),
              })
            : NOTHING,
      },
      {
        id: "verdict",
        label: t("creatives.verdict"),
        value: (row) => word("answer_verdict", row.verdict_code),
        cell: (row) =>
          h(
            "span",
            { class: "named" },
            h("span", { class: "first" }, word("answer_verdict", row.verdict_code)),
            row.caution_code
              ? h("span", { class: "second" }, word("answer_caution", row.caution_code))
              : null,
          ),
      },
    ],
  });
}
