// Targets per account or campaign, in the reporting currency: what a qualified lead may cost, what
// a month may cost; and how the month is going.

const TARGETS = DATA.targets ?? [];
const PACE_DAYS = 7;

function targetsCard() {
  if (!TARGETS.length) return null;
  const table = dataTable({
    id: "targets",
    caption: t("targets.title"),
    sort: { id: "spend", desc: true },
    columns: [
      { id: "of", label: t("targets.of"), value: (row) => row.title, cell: named },
      measureColumn("spend", { label: t("targets.spent") }),
      {
        id: "budget",
        label: t("targets.budget"),
        numeric: true,
        value: (row) => row.budget,
        format: (v) => money(v),
      },
      {
        id: "expected",
        label: t("targets.expected"),
        hint: t("targets.expected.hint", { days: number(PACE_DAYS) }),
        numeric: true,
        value: (row) => row.expected,
        cell: (row) => paced(row.expected, row.budget, "expected"),
      },
      {
        id: "cpql",
        label: t("measure.cpql"),
        numeric: true,
        value: (row) => row.cost,
        cell: (row) => paced(row.cost, row.target, "cost"),
      },
      {
        id: "target",
        label: t("targets.target"),
        numeric: true,
        value: (row) => row.target,
        format: (v) => money(v),
      },
    ],
  });
  table.update(TARGETS.map(targetRow));
  return section(t("targets.title"), t("targets.note", { month: monthName() }), table.element);
}

const monthName = () => date(monthOf(LAST_DAY), { month: "long", year: "numeric" });

// Over the target by more than a tenth is marked.
function paced(value, target, name) {
  const figure = figureOf(money(value), value, name);
  const isOver = isKnown(value) && isKnown(target) && value > target * 1.1;
  return isOver
    ? h("span", { class: "change bad" }, figure, h("span", { class: "doubt" }, ` ${t("targets.over")}`))
    : figure;
}

// The cost is that of the last 90 days: a month's leads are too young to say.
function targetRow(target) {
  const { platform, account_id: account, campaign_id: campaign } = target;
  const key = keyOf(platform, campaign ?? account);
  const level = campaign ? "campaign" : "total";
  const of = campaign ? ENTITY_KEYS.campaigns : ENTITY_KEYS.accounts;
  const mask = Uint8Array.from({ length: ENTITIES.count }, (_, e) => (of(e) === key ? 1 : 0));
  const month = monthOf(LAST_DAY);
  const total = (range, names) =>
    rowAt(sums({ level, range, mask, names, within: "ever" }), 0);
  const spent = total([month, LAST_DAY], ["spend"]).spend;
  const days = Math.min(PACE_DAYS, LAST_DAY - FIRST_DAY + 1);
  const pace = total([LAST_DAY - days + 1, LAST_DAY], ["spend"]).spend / days;
  const rest = nextStart(month, "month") - 1 - LAST_DAY;
  return {
    platform,
    title: campaign
      ? campaignName(platform, campaign)
      : accountName(ACCOUNTS.find((one) => one.key === key) ?? { name: account }),
    account: "",
    spend: spent,
    budget: target.monthly_budget,
    expected: spent + pace * rest,
    cost: measureOf("cpql", total([LAST_DAY - 89, LAST_DAY], COST)),
    target: target.cost_per_qualified_lead,
    href: () => address({ page: "campaigns", ...(campaign ? { campaigns: [key], by: "adset" } : { accounts: [key] }) }),
  };
}
