// Targets of accounts and campaigns: how the month goes against its budget, and what a qualified lead is
// expected to cost against what it may. Each row in the currency of its target.

const TARGETS = DATA.targets ?? [];

function targetsCard() {
  if (!TARGETS.length) return null;
  const amount = (name) => ({
    numeric: true,
    value: (row) => row[name],
    cell: (row, value) => figureOf(money(value, row.currency, 0), value, name),
  });
  const table = dataTable({
    id: "targets",
    caption: t("targets.title"),
    columns: [
      { id: "of", label: t("targets.of"), value: (row) => row.title, cell: targetName },
      { id: "spend", label: t("targets.spent"), ...amount("spend_so_far") },
      {
        id: "expected",
        label: t("targets.expected"),
        hint: t("targets.expected.hint"),
        ...amount("expected_spend"),
        cell: (row, value) =>
          targetFigure(money(value, row.currency, 0), value, "expected", word("budget_status", row.budget_status), row.budget_status === "over"),
      },
      { id: "budget", label: t("targets.budget"), ...amount("monthly_budget") },
      {
        id: "cost",
        label: t("targets.cost"),
        hint: t("targets.cost.hint"),
        numeric: true,
        value: (row) => row.expected_cost_per_qualified_lead,
        cell: targetCost,
        also: ends(
          t("targets.cost"),
          (row) => row.expected_cost_per_qualified_lead_low,
          (row) => row.expected_cost_per_qualified_lead_high,
        ),
      },
      {
        id: "target",
        label: t("targets.target"),
        numeric: true,
        value: (row) => row.target_cost_per_qualified_lead,
        cell: (row, value) => figureOf(money(value, row.currency), value, "target"),
      },
      { id: "currency", label: t("targets.currency"), value: (row) => row.currency ?? "" },
    ],
  });
  table.update(TARGETS.map(targetRow));
  const month = date(dayOf(TARGETS[0].month_start), { month: "long", year: "numeric" });
  return section(t("targets.title"), t("targets.note", { month }), table.element);
}

function targetRow(target) {
  const { platform, account_id: account, campaign_id: campaign } = target;
  const known = !target.problem_code;
  const title = campaign
    ? (target.campaign_name ?? campaignName(platform, campaign))
    : (target.account_name ?? account ?? NOTHING);
  const to = campaign
    ? { by: "adset", campaigns: [keyOf(platform, campaign)], accounts: [] }
    : { by: "campaign", campaigns: [], accounts: [keyOf(platform, account)] };
  return {
    ...target,
    title,
    account: campaign ? (target.account_name ?? "") : "",
    href: known ? () => address({ page: "campaigns", adsets: [], ads: [], ...to }) : null,
  };
}

// A row of the list that fits nothing says why; one with unread days, that its spend is not known.
function targetName(row) {
  const more = [platformName(row.platform), row.account].filter((text) => text && text !== NOTHING);
  const reason = row.problem_code
    ? t(`target_problem.${row.problem_code}`)
    : row.unread_days > 0
      ? t("targets.unread", { days: number(row.unread_days) })
      : null;
  return h(
    "span",
    { class: "named" },
    row.href
      ? h("a", { class: "first", href: row.href() }, row.title)
      : h("span", { class: "first" }, row.title),
    h("span", { class: "second" }, more.join(" · ")),
    reason ? h("span", { class: "second mend" }, reason) : null,
  );
}

function targetCost(row, value) {
  const { currency, expected_cost_per_qualified_lead_low: low, expected_cost_per_qualified_lead_high: high } = row;
  if (!isKnown(value)) {
    const why = row.cost_reason_code ? word("forecast_reason", row.cost_reason_code) : t("targets.no_forecast");
    return h("span", { class: "named" }, NOTHING, row.problem_code ? null : h("span", { class: "second" }, why));
  }
  const interval = t("creatives.interval", { low: money(low, currency, 0), high: money(high, currency, 0) });
  const status = row.cost_status ? `${word("cost_status", row.cost_status)} · ` : "";
  return targetFigure(money(value, currency), value, "cost", `${status}${interval}`, row.cost_status === "over");
}

function targetFigure(text, value, name, status, isBad) {
  return h(
    "span",
    { class: `named${isBad ? " over" : ""}` },
    h("span", { class: "first" }, figureOf(text, value, name)),
    isKnown(value) && status ? h("span", { class: "second" }, status) : null,
  );
}
