// Budget to shift: a proposal from the marts, shown but never applied.

const SHIFTS =
  DATA.budget_shift &&
  (() => {
    const given = DATA.budget_shift;
    const texts = [
      "platform",
      "account",
      "currency",
      "from_ad",
      "from_name",
      "from_campaign",
      "to_ad",
      "to_name",
      "to_campaign",
    ];
    const columns = Object.fromEntries(texts.map((name) => [name, wordsOf(given[name])]));
    const amount = numbersOf(given.amount);
    return given.window.map((window, at) => ({
      window,
      ...Object.fromEntries(texts.map((name) => [name, columns[name][at]])),
      amount: amount[at] / unitOf(given.amount),
      gain: given.gain[at],
      low: given.low[at],
      high: given.high[at],
      from_cost: given.from_cost[at],
      to_cost: given.to_cost[at],
    }));
  })();

function shiftTable() {
  const table = dataTable({
    id: "shift",
    caption: t("creatives.shift"),
    sort: { id: "gain", desc: true },
    columns: [
      {
        id: "from",
        label: t("creatives.from"),
        value: (row) => row.from_name ?? row.from_ad,
        cell: (row) => shiftEnd(row.from_name ?? row.from_ad, row.from_campaign),
      },
      {
        id: "to",
        label: t("creatives.to"),
        value: (row) => row.to_name ?? row.to_ad,
        cell: (row) => shiftEnd(row.to_name ?? row.to_ad, row.to_campaign),
      },
      {
        id: "amount",
        label: t("creatives.amount"),
        numeric: true,
        value: (row) => row.amount,
        cell: (row) => figureOf(money(row.amount, row.currency), row.amount, "amount"),
      },
      {
        id: "gain",
        label: t("creatives.gain"),
        numeric: true,
        value: (row) => row.gain,
        format: (value) => number(value, 1),
      },
      {
        id: "range",
        label: t("creatives.range"),
        numeric: true,
        value: (row) => row.low,
        also: [[t("csv.to", { name: t("creatives.range") }), (row) => row.high]],
        cell: (row) =>
          t("creatives.interval", { low: number(row.low, 1), high: number(row.high, 1) }),
      },
      {
        id: "reason",
        label: t("creatives.reason"),
        value: (row) => shiftReason(row),
        cell: (row) =>
          h(
            "details",
            { class: "reason" },
            h("summary", {}, t("creatives.why")),
            h("p", {}, shiftReason(row)),
          ),
      },
    ],
  });
  return {
    element: section(t("creatives.shift"), t("creatives.shift.note"), table.element),
    update(window) {
      table.update(
        SHIFTS.filter(
          (row) =>
            row.window === window &&
            (!state.accounts.length || state.accounts.includes(`${row.platform}:${row.account}`)),
        ),
      );
    },
  };
}

function shiftReason(row) {
  return t("reason.shift", {
    amount: money(row.amount, row.currency),
    from: row.from_name ?? row.from_ad,
    to: row.to_name ?? row.to_ad,
    from_cost: money(row.from_cost, row.currency),
    to_cost: money(row.to_cost, row.currency),
    gain: number(row.gain, 1),
    low: number(row.low, 1),
    high: number(row.high, 1),
  });
}

function shiftEnd(name, campaign) {
  return h(
    "span",
    { class: "named" },
    h("span", { class: "first" }, name),
    h("span", { class: "second" }, campaign ?? ""),
  );
}
