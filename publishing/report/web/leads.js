// Leads: the people behind a figure, by pseudonym, newest first, with why each has its source.

const LEADS = (() => {
  const raw = DATA.leads;
  const texts = ["basis", "resolution", "stage", "utm", "answered_by"].map((name) => [
    name,
    wordsOf(raw[name]),
  ]);
  const signs = numbersOf(raw.signs);
  const won = numbersOf(raw.won_value);
  const unit = unitOf(raw.won_value);
  let day = 0;
  let minute = 0;
  return raw.id.map((id, at) => {
    day += raw.day[at];
    minute += raw.minute[at];
    return {
      id,
      day,
      minute,
      entity: raw.entity[at],
      seconds: raw.seconds[at],
      age: raw.age[at],
      won_value: won[at] / unit,
      signs: signs[at],
      ...Object.fromEntries(texts.map(([name, values]) => [name, values[at]])),
    };
  });
})();
const SIGNS = { click_id: 1, form: 2, boosted: 4, later_source: 8, replied: 16, won: 32 };
const hasSign = (lead, name) => (lead.signs & SIGNS[name]) !== 0;

// Seconds to the first answer, the median by group of entity and of all, of leads that were answered.
// Null where the file does not hold all leads of the period: the newest are no sample.
function medianAnswers(range, mask, groups) {
  const counted = sums({ range, mask, within: "ever", names: ["leads"] }).leads[0];
  const shown = LEADS.filter((lead) => lead.day >= range[0] && lead.day <= range[1] && mask[lead.entity]);
  if (shown.length < counted) return null;
  const times = groups.keys.map(() => []);
  const all = [];
  for (const lead of shown) {
    if (lead.seconds === null || lead.seconds < 0) continue; // no chat, no answer
    all.push(lead.seconds);
    times[groups.of[lead.entity]]?.push(lead.seconds);
  }
  return { of: times.map(median), all: median(all) };
}

function median(values) {
  if (!values.length) return null;
  const sorted = values.sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function leadList(root) {
  const trail = h("nav", { class: "trail", "aria-label": t("campaigns.trail") });
  const told = h("p", { class: "count", id: "lead-count", role: "status" });
  const notice = h("div", { class: "notice", role: "note", hidden: true });
  const stage = choice(
    "lead-stage",
    t("leads.stage"),
    state.stage,
    ["all", "replied", "qualified", "won"].map((name) => [name, t(`leads.${name}`)]),
    (value) => change({ stage: value }),
  );
  const table = dataTable({
    id: "leads",
    caption: t("page.leads"),
    sort: { id: "at", desc: true },
    search: (row) => `${row.id} ${row.ad} ${row.campaign} ${row.why}`,
    columns: [
      { id: "lead", label: t("leads.lead"), value: (row) => row.id },
      {
        id: "at",
        label: t("leads.at"),
        numeric: true,
        value: (row) => row.minute,
        format: (v) => moment(v),
        csv: (row) => new Date(row.minute * 60000).toISOString(),
      },
      {
        id: "source",
        label: t("leads.source"),
        value: (row) => row.ad,
        cell: (row) =>
          h(
            "span",
            { class: "named" },
            h("span", { class: "first" }, row.ad),
            h("span", { class: "second" }, row.campaign),
          ),
        also: [
          [t("campaigns.campaign"), (row) => row.campaign],
          [t("filter.channel"), (row) => row.channel],
        ],
      },
      {
        id: "answered",
        label: t("leads.answered"),
        numeric: true,
        value: (row) => (row.seconds >= 0 ? row.seconds : null),
        cell: (row) =>
          row.seconds === -1
            ? t("leads.unanswered")
            : figureOf(duration(row.seconds), row.seconds, "answered"),
      },
      {
        id: "stage",
        label: t("health.stage"),
        value: (row) => (row.stage ? word("stage", row.stage) : ""),
        cell: (row, value) => value || NOTHING,
        csv: (row, isRaw) => (row.stage && !isRaw ? word("stage", row.stage) : row.stage),
      },
      {
        id: "age",
        label: t("leads.age"),
        numeric: true,
        value: (row) => (row.age >= 0 ? row.age : null),
      },
      {
        id: "won_value",
        label: t("measure.won_value"),
        numeric: true,
        value: (row) => (hasSign(row, "won") ? row.won_value : null),
        format: (v) => money(v),
      },
      {
        id: "why",
        label: t("creatives.why"),
        value: (row) => row.why,
        cell: (row) => h("span", { class: "why" }, row.why),
      },
    ],
  });
  root.append(
    trail,
    notice,
    h("section", { class: "card" }, h("div", { class: "title with-tools" }, told, stage), table.element),
  );
  return () => {
    const level = levelFor("total");
    const mask = chosenEntities();
    const range = shownRange(level);
    const measure = state.stage === "all" ? "leads" : state.stage;
    const count = sums({ level, range, mask, names: [measure] })[measure][0];
    const rows = LEADS.filter(
      (lead) => lead.day >= range[0] && lead.day <= range[1] && mask[lead.entity] && isAt(lead),
    ).map(describeLead);
    const left = count - rows.length;
    fill(
      told,
      figureOf(number(count), count, "count"),
      ` ${t(`leads.${state.stage}`)}`,
      left > 0 ? ` · ${t("leads.left_out", { count: number(left) })}` : null,
    );
    table.update(rows);
    fillNotice(notice, range, mask, level, { young: false });
    fillTrail(trail);
  };
}

// Whether a lead has reached the stage that was asked for, within the window if there is one.
function isAt(lead) {
  if (state.stage === "replied") return hasSign(lead, "replied");
  if (state.stage === "won") return hasSign(lead, "won");
  if (state.stage !== "qualified") return true;
  return lead.age >= 0 && (state.within === "ever" || lead.age <= Number(state.within));
}

function describeLead(lead) {
  const e = lead.entity;
  const platform = ENTITIES.platform[e];
  const ad = ENTITIES.ad[e];
  const channel = word("channel", ENTITIES.channel[e]);
  const row = {
    ...lead,
    channel,
    ad: ad === null ? channel : (ADS.get(`${platform} ${ad}`)?.headline ?? adName(platform, ad)),
    campaign: ad === null ? "" : campaignName(platform, ENTITIES.campaign[e]),
  };
  return { ...row, why: whyOf(row, platform) };
}

// Why a lead has its source, from the columns that the mart's own sentence (`why`) is made of.
function whyOf(row, platform) {
  const values = {
    ad: row.ad,
    platform: platformName(platform),
    utm: row.utm || NOTHING,
  };
  const way = hasSign(row, "form") ? "form" : "chat";
  const texts = [
    ["web_ad_id", "web_click_id", "web_utm"].includes(row.basis)
      ? t(`why.${row.basis}.${way}`, values)
      : row.basis === "direct" && way === "form"
        ? t("why.direct.form", values)
        : word("why", row.basis).replace("{ad}", values.ad),
  ];
  if (row.resolution && row.resolution !== "resolved") texts.push(word("why_ad", row.resolution));
  if (hasSign(row, "boosted")) texts.push(t("why.boosted"));
  if (hasSign(row, "later_source")) texts.push(t("why.later_source"));
  return texts.join(" ");
}

const moment = (minute) =>
  isKnown(minute)
    ? formatter("DateTimeFormat", {
        dateStyle: "short",
        timeStyle: "short",
        timeZone: DATA.timezone,
      }).format(new Date(minute * 60000))
    : NOTHING;

// "45 s", "12 min", "3 h", "2 d": one unit is enough for an answer's time.
function duration(seconds) {
  if (!isKnown(seconds)) return NOTHING;
  const [unit, size] =
    seconds < 90
      ? ["second", 1]
      : seconds < 5400
        ? ["minute", 60]
        : seconds < 129600
          ? ["hour", 3600]
          : ["day", 86400];
  const digits = size > 60 && seconds / size < 10 ? 1 : 0;
  const options = { style: "unit", unit, unitDisplay: "narrow", maximumFractionDigits: digits };
  return formatter("NumberFormat", options).format(seconds / size);
}
