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

// Multiple choice, in a panel that closes on Escape and when it loses focus.
function manyOf(id, label, all, options, chosen, onchange) {
  const summary = h("summary", { id: `${id}-summary` });
  const boxes = options.map(([key, text]) => {
    const box = h("input", {
      type: "checkbox",
      value: key,
      checked: chosen.includes(key),
      onchange: tell,
    });
    return h("label", { class: "check" }, box, h("span", {}, text));
  });
  const inputs = boxes.map((one) => one.querySelector("input"));
  const clear = h(
    "button",
    {
      type: "button",
      class: "plain",
      onclick: () => {
        inputs.forEach((i) => {
          i.checked = false;
        });
        tell();
      },
    },
    t("filter.clear"),
  );
  const panel = h(
    "fieldset",
    { class: "panel" },
    h("legend", { class: "unseen" }, label),
    boxes,
    clear,
  );
  const details = h("details", { class: "many", id }, summary, panel);
  function name() {
    const marked = options.filter(([key], at) => inputs[at].checked).map(([, text]) => text);
    const text =
      marked.length === 0
        ? all
        : marked.length === 1
          ? marked[0]
          : t("filter.several", { count: number(marked.length) });
    fill(summary, h("span", { class: "label" }, label), h("span", { class: "value" }, text));
  }
  function tell() {
    name();
    onchange(inputs.filter((input) => input.checked).map((input) => input.value));
  }
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
  details.addEventListener("sync", name);
  name();
  return h("div", { class: "field" }, details);
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

// Returns the bar and `sync()`, which updates the dates after a preset was chosen.
function filterBar() {
  const [from, to] = state.range;
  const fields = {
    from: dateField("filter-from", t("filter.from"), from, (day) =>
      change({ preset: null, range: [day, Math.max(day, state.range[1])] }),
    ),
    to: dateField("filter-to", t("filter.to"), to, (day) =>
      change({ preset: null, range: [Math.min(day, state.range[0]), day] }),
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
    manyOf(
      "filter-channel",
      t("filter.channel"),
      t("filter.all_channels"),
      CHANNELS.map((name) => [name, word("channel", name)]),
      state.channels,
      (channels) => change({ channels }),
    ),
    manyOf(
      "filter-account",
      t("filter.account"),
      t("filter.all_accounts"),
      ACCOUNTS.map((account) => [account.key, accountName(account)]),
      state.accounts,
      (accounts) => change({ accounts }),
    ),
    within,
  );
  return {
    element: bar,
    sync() {
      const shown = {
        "filter-from": isoOf(state.range[0]),
        "filter-to": isoOf(state.range[1]),
        "filter-period": state.preset ?? "custom",
        "filter-within": state.within,
      };
      for (const [id, value] of Object.entries(shown)) {
        const control = bar.querySelector(`#${id}`);
        if (control.value !== value) control.value = value;
      }
      for (const [id, chosen] of [
        ["filter-channel", state.channels],
        ["filter-account", state.accounts],
      ]) {
        bar.querySelectorAll(`#${id} input`).forEach((box) => {
          box.checked = chosen.includes(box.value);
        });
      }
      bar.querySelectorAll(".many").forEach((many) => many.dispatchEvent(new Event("sync")));
    },
  };
}

// The filters in words, for print and screen readers.
function filtersInWords() {
  const channels = state.channels.length
    ? state.channels.map((name) => word("channel", name)).join(", ")
    : t("filter.all_channels");
  const accounts = state.accounts.length
    ? ACCOUNTS.filter((account) => state.accounts.includes(account.key))
        .map(accountName)
        .join(", ")
    : t("filter.all_accounts");
  return `${span(state.range)} · ${channels} · ${accounts}`;
}
