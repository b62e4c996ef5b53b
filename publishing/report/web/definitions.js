// Definitions: what each term on the page means.

const TERMS = [
  "spend",
  "lead",
  "channel",
  "qualified",
  "within",
  "mature",
  "cpl",
  "cpql",
  "loaded",
  "answered",
  "rate",
  "won",
  "before",
  "unallocated",
  "match_rate",
  "pending",
  "suspected",
  "unmatched",
  "verdict",
  "interval",
  "currency",
  "days",
  "dash",
];

function definitions(root) {
  root.append(
    h(
      "section",
      { class: "card" },
      h("h2", { class: "unseen" }, t("page.definitions")),
      h(
        "dl",
        { class: "terms" },
        TERMS.map((name) =>
          h(
            "div",
            {},
            h("dt", {}, t(`term.${name}`)),
            h(
              "dd",
              {},
              t(`term.${name}.text`, { currency: DATA.currency, timezone: DATA.timezone }),
            ),
          ),
        ),
      ),
    ),
    section(
      t("filter.channel"),
      null,
      h(
        "dl",
        { class: "terms" },
        CHANNELS.map((name) =>
          h("div", {}, h("dt", {}, word("channel", name)), h("dd", {}, word("channel_text", name))),
        ),
      ),
    ),
    section(
      t("about.title"),
      null,
      h(
        "dl",
        { class: "terms" },
        [
          ["about.version", DATA.version],
          ["about.as_of", date(AS_OF)],
          ["about.published", instant(DATA.published_at)],
          ["about.rules", DATA.rule_version || NOTHING],
          ["about.rows", number(DATA.facts.rows)],
          [
            "about.made_with",
            "Apache ECharts 6.1 (Apache-2.0), zrender (BSD-3-Clause), TanStack Table 9.3 (MIT)",
          ],
        ].map(([name, value]) => h("div", {}, h("dt", {}, t(name)), h("dd", {}, value))),
      ),
    ),
  );
  return () => {};
}
