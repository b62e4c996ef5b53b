// Alarms for silent loss and restatements, as the marts have them.

const ALARM_TONES = { warn: "warn", ok: "fine", off: "none" };
// Which alarms stand behind a figure of the page: it is never called fine while one of them warns.
const ALARMS_OF = {
  match_rate: ["referral_share", "unresolved_ads", "platform_conversations"],
  pending: ["unresolved_ads"],
  suspected: ["withheld_messages"],
  unmatched: ["unmatched_outcomes", "shared_identifiers"],
  quarantined: ["quarantine", "unknown_fields"],
  fresh: ["envelopes_missing", "silent_sources", "meta_token", "api_versions", "unallocated_spend"],
};
const standing = () => (DATA.alarms ?? []).filter((one) => one.status === "warn");
const warnsFor = (tile) =>
  standing().some((one) => (ALARMS_OF[tile] ?? []).includes(one.alarm));

const SHARES = new Set([
  "referral_share",
  "withheld_messages",
  "unresolved_ads",
  "unallocated_spend",
  "unmatched_outcomes",
  "quarantine",
  "shared_identifiers",
]);

function alarmValue(one, value) {
  if (!isKnown(value)) return NOTHING;
  if (SHARES.has(one.alarm)) return percent(value);
  if (one.alarm === "envelopes_missing") return t("alarm.hours", { count: number(value, 0) });
  if (["silent_sources", "meta_token", "api_versions"].includes(one.alarm))
    return t("alarm.days", { count: number(value, 0) });
  return number(value, 2);
}

function alarmUsual(one) {
  const [low, high] = [one.low, one.high].map((value) => alarmValue(one, value));
  if (isKnown(one.low) && isKnown(one.high)) return `${low} – ${high}`;
  if (isKnown(one.high)) return t("alarm.at_most", { value: high });
  return isKnown(one.low) ? t("alarm.at_least", { value: low }) : NOTHING;
}

// Alarms that this page does not know are shown in the mart's own words.
const isWorded = (one) => TEXTS[state.language][`alarm_mend.${one.alarm}`] !== undefined;

function alarmsTable() {
  return dataTable({
    id: "alarms",
    caption: t("health.alarms"),
    columns: [
      {
        id: "alarm",
        label: t("health.alarm"),
        value: (row) => word("alarm", row.alarm),
        cell: (row) =>
          h(
            "span",
            { class: "named" },
            h("span", { class: "first" }, word("alarm", row.alarm)),
            row.subject ? h("span", { class: "second" }, row.subject) : null,
            row.status === "warn"
              ? h(
                  "span",
                  { class: "second mend", lang: isWorded(row) ? null : "en" },
                  isWorded(row) ? t(`alarm_mend.${row.alarm}`) : (row.mend ?? row.message),
                )
              : null,
          ),
      },
      {
        id: "status",
        label: t("health.status"),
        value: (row) => String(["warn", "off", "ok"].indexOf(row.status)),
        cell: (row) =>
          h(
            "span",
            { class: `state-${ALARM_TONES[row.status] ?? "warn"}` },
            h("span", { class: "state" }, word("alarm_status", row.status)),
          ),
        csv: (row, isRaw) => (isRaw ? row.status : word("alarm_status", row.status)),
      },
      {
        id: "measured",
        label: t("alarm.measured"),
        numeric: true,
        value: (row) => row.measured,
        cell: (row) => figureOf(alarmValue(row, row.measured), row.measured, "measured"),
      },
      { id: "usual", label: t("alarm.usual"), value: (row) => alarmUsual(row) },
      {
        id: "since",
        label: t("alarm.since"),
        numeric: true,
        value: (row) => row.since,
        format: (v) => date(v),
        csv: (row) => (row.since === null ? null : isoOf(row.since)),
      },
    ],
    sort: { id: "status", desc: false },
    pageSize: 50,
  });
}

const RESTATED = (() => {
  if (!DATA.restatements) return [];
  const raw = DATA.restatements;
  const cause = wordsOf(raw.cause);
  const spend = numbersOf(raw.spend);
  return raw.on.map((on, at) => ({
    on,
    cause: cause[at],
    days: [raw.from[at], raw.to[at]],
    spend: spend[at] / unitOf(raw.spend),
    leads: raw.leads[at],
    qualified: raw.qualified[at],
  }));
})();

function restatedTable() {
  const signed = (value, format) => (value > 0 ? `+${format(value)}` : format(value));
  return dataTable({
    id: "restated",
    caption: t("health.restated"),
    sort: { id: "on", desc: true },
    columns: [
      {
        id: "cause",
        label: t("health.cause"),
        value: (row) => word("cause", row.cause),
      },
      {
        id: "on",
        label: t("health.restated_on"),
        numeric: true,
        value: (row) => row.on,
        format: (v) => date(v),
        csv: (row) => isoOf(row.on),
      },
      {
        id: "days",
        label: t("health.restated_days"),
        numeric: true,
        value: (row) => row.days[0],
        cell: (row) => span(row.days),
        csv: (row) => row.days.map(isoOf).join("/"),
      },
      {
        id: "spend",
        label: t("measure.spend"),
        numeric: true,
        value: (row) => row.spend,
        cell: (row) => figureOf(signed(row.spend, (v) => money(v)), row.spend, "spend"),
      },
      ...["leads", "qualified"].map((name) => ({
        id: name,
        label: t(`measure.${name}`),
        numeric: true,
        value: (row) => row[name],
        cell: (row) => figureOf(signed(row[name], (v) => number(v)), row[name], name),
      })),
    ],
  });
}
