// The filter bar: native controls, which keyboards, screen readers and phones support.

function option(value, label, chosen) {
  return h("option", { value, selected: value === chosen }, label);
}

function choice(id, label, value, options, onchange) {
  const select = h(
    "select",
    { id, onchange: () => onchange(select.value) },
    options.map(([key, text]) => option(key, text, value)),
  );
  return h("div", { class: "field" }, h("label", { for: id }, label), select);
}

// Multiple choice, in a panel that closes on Escape and when it loses focus. `options()` is asked
// when the panel opens; many of them are searched, and only the first are listed.
const LISTED_OPTIONS = 40;

function manyOf(filter, id, label, all, options, chosenNow, onchange) {
  const summary = h("summary", { id: `${id}-summary` });
  const list = h("div", { class: "choices" });
  let known = null;
  const field = h("input", {
    type: "search",
    "aria-label": t("table.search"),
    placeholder: t("table.search"),
    oninput: () => write(),
  });
  const clear = h(
    "button",
    { type: "button", class: "plain", onclick: () => onchange([]) },
    t("filter.clear"),
  );
  const panel = h(
    "fieldset",
    { class: "panel" },
    h("legend", { class: "unseen" }, label),
    field,
    list,
    clear,
  );
  const details = h("details", { class: "many", id }, summary, panel);
  function write() {
    known ??= options();
    field.hidden = known.length <= 12;
    const wish = field.value.trim().toLocaleLowerCase();
    const chosen = new Set(chosenNow());
    const found = known
      .filter(([key, text]) => chosen.has(key) || text.toLocaleLowerCase().includes(wish))
      .sort(([a], [b]) => chosen.has(b) - chosen.has(a));
    fill(
      list,
      found.slice(0, LISTED_OPTIONS).map(([key, text]) => {
        const box = h("input", {
          type: "checkbox",
          value: key,
          checked: chosen.has(key),
          onchange: () => {
            const next = new Set(chosenNow());
            if (box.checked) next.add(key);
            else next.delete(key);
            onchange([...next]);
          },
        });
        return h("label", { class: "check" }, box, h("span", {}, text));
      }),
      found.length > LISTED_OPTIONS
        ? h("p", { class: "note" }, t("filter.more", { count: number(found.length - LISTED_OPTIONS) }))
        : null,
    );
  }
  function name() {
    const chosen = chosenNow();
    const text =
      chosen.length === 0
        ? all
        : chosen.length === 1
          ? (options().find(([key]) => key === chosen[0])?.[1] ?? chosen[0])
          : t("filter.several", { count: number(chosen.length) });
    fill(summary, h("span", { class: "label" }, label), h("span", { class: "value" }, text));
    list.querySelectorAll("input").forEach((box) => {
      box.checked = chosen.includes(box.value);
    });
  }
  // Written on the click, since `toggle` comes later and keyboards go on at once; not once more by
  // `toggle`, which would take away the box that has the focus by then.
  let isWritten = false;
  details.addEventListener("toggle", () => {
    if (details.open && !isWritten) write();
    isWritten = details.open;
  });
  summary.addEventListener("click", () => {
    if (details.open) return;
    write();
    isWritten = true;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && details.open) {
      details.open = false;
      summary.focus();
    }
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
  document.addEventListener("pointerdown", (event) => {
    if (!details.contains(event.target)) details.open = false;
  });
  const element = h("div", { class: EXTRA.has(filter) ? "field extra" : "field" }, details);
  details.addEventListener("sync", () => {
    name();
    element.classList.toggle("set", chosenNow().length > 0);
  });
  name();
  return element;
}

function dateField(id, label, day, onchange) {
  const input = h("input", {
    type: "date",
    id,
    value: isoOf(day),
    min: isoOf(FIRST_DAY),
    max: isoOf(END_DAY),
    onchange: () => {
      if (input.value) onchange(dayOf(input.value));
    },
  });
  return h("div", { class: "field" }, h("label", { for: id }, label), input);
}

// What the filters offer, by name.
const OPTIONS = {
  channels: () => CHANNELS.map((name) => [name, word("channel", name)]),
  accounts: () => ACCOUNTS.map((account) => [account.key, accountName(account)]),
  campaigns: () => entityOptions("campaigns", 1, (e) =>
    campaignName(ENTITIES.platform[e], ENTITIES.campaign[e])),
  adsets: () => entityOptions("adsets", 0, (e) =>
    adsetName(ENTITIES.platform[e], adsetOf(ENTITIES.platform[e], ENTITIES.ad[e])) ?? NOTHING),
  ads: () => entityOptions("ads", 0, (e) => adName(ENTITIES.platform[e], ENTITIES.ad[e])),
  numbers: () => NUMBERS.map((name) => [name, name]),
  brands: () => BRANDS.map((name) => [name, name]),
};
const optionsKept = new Map();

// Options from the entities of a level, by name; those of one name have the end of their id.
function entityOptions(filter, level, nameOf) {
  const kept = `${filter} ${state.language}`;
  if (!optionsKept.has(kept)) {
    const found = new Map();
    for (let e = 0; e < ENTITIES.count; e += 1) {
      const key = ENTITY_KEYS[filter](e);
      if (ENTITIES.level[e] === level && key !== "none" && !found.has(key))
        found.set(key, { key, title: nameOf(e) });
    }
    const rows = tellApart([...found.values()], (row) => row.key);
    optionsKept.set(
      kept,
      rows
        .map((row) => [row.key, row.twin ? `${row.title} ${row.twin}` : row.title])
        .sort((a, b) => a[1].localeCompare(b[1], locale(), { numeric: true })),
    );
  }
  return optionsKept.get(kept);
}

// Behind "More filters" until something is chosen there.
const EXTRA = new Set(["campaigns", "ads", "numbers", "brands"]);

// Filters with only one value to choose have no field; ad sets and ads are come to by clicking.
const hasChoice = (name) =>
  name === "numbers" ? NUMBERS.length > 1 : name === "brands" ? BRANDS.length > 1 : true;

// Returns the bar and `sync()`, which writes what is chosen into its controls.
function filterBar() {
  const [from, to] = state.range;
  const fields = {
    from: dateField("filter-from", t("filter.from"), from, (day) =>
      change({ preset: null, range: inOrder(day, state.range[1]) }),
    ),
    to: dateField("filter-to", t("filter.to"), to, (day) =>
      change({ preset: null, range: inOrder(state.range[0], day) }),
    ),
  };
  const presets = [
    ...PRESETS.map((name) => [name, t(`period.${name}`)]),
    ["custom", t("period.custom")],
  ];
  const period = choice(
    "filter-period",
    t("filter.period"),
    state.preset ?? "custom",
    presets,
    (value) => {
      if (value === "custom") document.getElementById("filter-from").focus();
      else change({ preset: value, range: undefined });
    },
  );
  const against = choice(
    "filter-against",
    t("filter.against"),
    state.against,
    ["before", "year"].map((name) => [name, t(`against.${name}`)]),
    (value) => change({ against: value }),
  );
  const within = choice(
    "filter-within",
    t("filter.within"),
    state.within,
    [
      ["ever", t("within.ever")],
      ...WINDOWS.map((days) => [String(days), t("within.days", { days: number(days) })]),
    ],
    (value) => change({ within: value }),
  );
  against.classList.add("extra");
  const toggle = h(
    "button",
    {
      type: "button",
      class: "plain filter-toggle",
      "aria-expanded": "false",
      "aria-controls": "filters",
      onclick: () => {
        const isOpen = bar.classList.toggle("open");
        toggle.setAttribute("aria-expanded", String(isOpen));
      },
    },
    t("filter.more_fields"),
  );
  const bar = h(
    "form",
    {
      class: "filters",
      "aria-label": t("filter.title"),
      onsubmit: (event) => event.preventDefault(),
    },
    period,
    fields.from,
    fields.to,
    ["channels", "accounts", "campaigns", "ads", "numbers", "brands"]
      .filter(hasChoice)
      .map((name) =>
        manyOf(
          name,
          `filter-${FILTER_NAMES[name]}`,
          t(`filter.${FILTER_NAMES[name]}`),
          t(`filter.all_${name}`),
          OPTIONS[name],
          () => state[name],
          (values) => change({ [name]: values }),
        ),
      ),
    within,
    against,
    h("div", { class: "field toggle" }, toggle),
  );
  const frame = h("div", { class: "filter-frame" }, bar);
  bar.id = "filters";
  return {
    element: frame,
    sync() {
      const shown = {
        "filter-from": isoOf(state.range[0]),
        "filter-to": isoOf(state.range[1]),
        "filter-period": state.preset ?? "custom",
        "filter-within": state.within,
        "filter-against": state.against,
      };
      for (const [id, value] of Object.entries(shown)) {
        const control = bar.querySelector(`#${id}`);
        if (control.value !== value) control.value = value;
      }
      against.classList.toggle("set", state.against !== "before");
      bar.querySelectorAll(".many").forEach((many) => many.dispatchEvent(new Event("sync")));
    },
  };
}

// Dates may be typed in either order.
const inOrder = (a, b) => [Math.min(a, b), Math.max(a, b)];

function copyLink() {
  const button = h(
    "button",
    {
      type: "button",
      class: "plain copy",
      onclick: async () => {
        const isDone = await copied(location.href);
        button.textContent = t(isDone ? "copy.done" : "copy.failed");
        announce(button.textContent);
        setTimeout(() => {
          button.textContent = t("copy.link");
        }, 2500);
      },
    },
    t("copy.link"),
  );
  return button;
}

// A page opened from disk has no clipboard of its own: select and copy, as a person would.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "unseen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

// The filters in words, for print and screen readers.
function filtersInWords() {
  const words = FILTERS.filter((name) => state[name].length || ["channels", "accounts"].includes(name))
    .map((name) =>
      state[name].length
        ? state[name].map((key) => OPTIONS[name]().find(([k]) => k === key)?.[1] ?? key).join(", ")
        : t(`filter.all_${name}`),
    );
  return [span(state.range), ...words].join(" · ");
}
