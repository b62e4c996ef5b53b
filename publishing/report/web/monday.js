// Monday: what to do first, how much money it is about, and why; each line leads to its evidence.

function monday(root) {
  const list = h("ol", { class: "monday" });
  const nothing = h("p", { class: "notice calm", role: "note" }, t("monday.nothing"));
  const parts = [h("p", { class: "note" }, t("monday.note")), list, nothing, restatedNotice(), targetsCard()];
  root.append(...parts.filter(Boolean));
  return () => {
    const lines = DATA.monday ?? [];
    nothing.hidden = lines.length > 0;
    fill(
      list,
      lines.map((line) => h("li", { class: "card" }, mondayLine(line))),
    );
  };
}

// Published figures of the last four weeks that were changed by more than a little: no line of the mart,
// which is made before anybody can know.
function restatedNotice() {
  const range = [Math.max(FIRST_DAY, LAST_DAY - 27), LAST_DAY];
  const [last] = restatedMarks(bucketsOf(range, "week"), range).slice(-1);
  if (!last) return null;
  return h(
    "p",
    { class: "notice", role: "note", id: "restated" },
    `${last.text} `,
    h("a", { href: address({ page: "health", tables: {} }) }, t("monday.evidence")),
  );
}

function mondayLine(line) {
  const low = line.money_at_stake_low_reporting;
  const high = line.money_at_stake_high_reporting;
  return [
    h(
      "div",
      { class: "title" },
      h("span", { class: `verdict kind-${line.kind}` }, word("monday_kind", line.kind)),
      h("h2", {}, h("a", { class: "first", href: evidenceOf(line) }, subjectOfLine(line))),
      h("p", { class: "note" }, placeOfLine(line)),
    ),
    h(
      "p",
      { class: "stake" },
      figureOf(money(line.money_at_stake_reporting, DATA.currency, 0), line.money_at_stake_reporting, "stake"),
      ` ${t("monday.stake")}`,
      isKnown(low) && isKnown(high) && low !== high
        ? h(
            "span",
            { class: "second" },
            ` ${t("creatives.interval", { low: money(low, DATA.currency, 0), high: money(high, DATA.currency, 0) })}`,
          )
        : null,
    ),
    h("p", { class: "because" }, mondayReason(line)),
    h("a", { class: "plain more", href: evidenceOf(line) }, t("monday.evidence")),
  ];
}

function subjectOfLine(line) {
  if (line.alarm) return word("alarm", line.alarm);
  return (
    line.ad_name ??
    line.adset_name ??
    line.campaign_name ??
    line.account_name ??
    word("monday_what", line.what)
  );
}

function placeOfLine(line) {
  const subject = subjectOfLine(line);
  return [...new Set([line.adset_name, line.campaign_name, line.account_name])]
    .filter((text) => text && text !== subject)
    .concat(line.platform ? [platformName(line.platform)] : [])
    .join(" · ");
}

const MONEY_OF_LINE = new Set([
  "spend",
  "cost_low",
  "cost_high",
  "peer_cost",
  "target_cost_per_qualified_lead",
  "expected_cost_per_qualified_lead_low",
  "expected_cost_per_qualified_lead_high",
  "spend_so_far",
  "expected_spend",
  "monthly_budget",
]);
const REPORTING_MONEY_OF_LINE = new Set(["unallocated", "monthly_spend"]);

// The sentence of a code with its values; a general one where a value is missing.
function mondayReason(line) {
  const given = line.reason_values;
  const values = Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, valueOfLine(name, value, given, line)]),
  );
  const key = `monday_reason.${line.reason_code}`;
  const text = TEXTS[state.language][key];
  const isWhole =
    text && [...text.matchAll(/\{(\w+)\}/g)].every(([, name]) => values[name] !== undefined);
  return isWhole ? t(key, values) : t(`monday_reason.${line.kind}`);
}

function valueOfLine(name, value, given, line) {
  if (value === null || value === undefined) return undefined;
  if (name === "alarm") return word("alarm", value);
  if (name.endsWith("_group")) return word("answer_in", value);
  if (name.startsWith("rate_difference")) return t("answering.points", { points: number(100 * Math.abs(value), 1) });
  if (["measured", "expected_low", "expected_high"].includes(name))
    return alarmValue({ alarm: line.alarm ?? given.alarm }, value);
  if (REPORTING_MONEY_OF_LINE.has(name)) return money(value, DATA.currency, 0);
  if (MONEY_OF_LINE.has(name)) return money(value, given.currency ?? DATA.currency);
  if (typeof value === "number") return number(value, 1);
  return /^\d{4}-\d\d-\d\d$/.test(value) ? date(dayOf(value)) : value;
}

// The page that shows why, with its filters; a period that verdicts rest on.
const EVIDENCE_PAGES = { campaigns: "campaigns", ads: "creatives", health: "health", answering: "answering" };
function evidenceOf(line) {
  const to = line.evidence;
  const page = EVIDENCE_PAGES[to.page] ?? "campaigns";
  const one = (id) => (id ? [`${to.platform}:${id}`] : []);
  return address({
    page,
    preset: page === "health" ? "30d" : "90d",
    by: to.campaign_id && page === "campaigns" ? "adset" : "campaign",
    channels: [],
    accounts: page === "health" ? [] : one(to.account_id),
    campaigns: one(to.campaign_id),
    adsets: one(to.adset_id),
    ads: one(to.ad_id),
    numbers: [],
    brands: [],
    tables: {},
  });
}
