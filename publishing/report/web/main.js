// The frame: navigation, filters, and one page at a time.

const RENDERERS = {
  monday,
  overview,
  campaigns,
  creatives,
  leads: leadList,
  funnel,
  answering,
  cohorts,
  health,
  definitions,
};
// Choices of a page that the address may change behind its back.
const CONTROLS = {
  grain: () => state.grain,
  "cohort-grain": () => cohortGrain(),
  "cohort-view": () => state.view,
  "lead-stage": () => state.stage,
  "board-window": () => String(boardWindow()),
};
const app = document.getElementById("app");
const shown = {
  language: null,
  page: null,
  theme: null,
  update: null,
  bar: null,
  unread: null,
  main: null,
};

function announce(text) {
  const live = document.getElementById("announcement");
  if (live) live.textContent = text;
}

function buildFrame() {
  document.documentElement.lang = state.language;
  document.title = t("title");
  shown.bar = filterBar();
  shown.unread = unreadNotice();
  shown.main = h("main", { id: "content", tabindex: "-1" });
  const language = choice(
    "language",
    t("frame.language"),
    state.language,
    LANGUAGES.map((name) => [name, LANGUAGE_NAMES[name]]),
    (value) => change({ language: value }),
  );
  const theme = choice(
    "theme",
    t("frame.theme"),
    state.theme ?? "auto",
    ["auto", "light", "dark"].map((name) => [name, t(`theme.${name}`)]),
    (value) => change({ theme: value === "auto" ? null : value }),
  );
  const links = PAGES.map((page) =>
    h("a", { href: `#/${page}`, "data-page": page }, icon(page), h("span", {}, t(`page.${page}`))),
  );
  fill(
    app,
    h(
      "a",
      {
        class: "skip",
        href: "#content",
        onclick: (event) => {
          event.preventDefault();
          shown.main.focus();
        },
      },
      t("frame.skip"),
    ),
    h(
      "header",
      { class: "side" },
      h(
        "p",
        { class: "brand" },
        h("span", { class: "mark" }, icon("brand")),
        h("span", {}, t("title")),
      ),
      h(
        "nav",
        { "aria-label": t("frame.pages") },
        h(
          "ul",
          {},
          links.map((link) => h("li", {}, link)),
        ),
      ),
      h(
        "div",
        { class: "preferences" },
        language,
        theme,
        h("p", { class: "stamp" }, t("frame.stamp", { date: date(AS_OF) })),
      ),
    ),
    h("div", { class: "body" }, shown.bar.element, shown.unread.element, shown.main),
    h("p", { class: "unseen", id: "announcement", role: "status", "aria-live": "polite" }),
  );
}

function buildPage() {
  disposeCharts();
  liveTables.clear();
  const root = h("div", { class: `page page-${state.page}` });
  fill(
    shown.main,
    h(
      "div",
      { class: "heading" },
      h("div", { class: "with-tools" }, h("h1", {}, t(`page.${state.page}`)), copyLink()),
      h("p", { class: "lead", id: "lead" }),
      h("p", { class: "notice", id: "unknown", role: "note", hidden: true }),
    ),
    root,
  );
  shown.update = RENDERERS[state.page](root);
}

// On a phone the menu is a strip that scrolls sideways.
function bringIntoView() {
  const link = app.querySelector("nav a[aria-current=page]");
  const nav = link?.closest("nav");
  if (!nav || nav.scrollWidth <= nav.clientWidth) return;
  const [here, strip] = [link, nav].map((one) => one.getBoundingClientRect());
  nav.scrollLeft += here.left - strip.left - (strip.width - here.width) / 2;
}

function render() {
  const last = { page: shown.page, language: shown.language };
  readState();
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  const focused = document.activeElement?.id;
  if (last.language !== state.language) {
    if (last.language !== null) tableStates.clear(); // sorted by the other language
    buildFrame();
  }
  if (last.language !== state.language || last.page !== state.page) buildPage();
  Object.assign(shown, { language: state.language, page: state.page });
  shown.bar.sync();
  shown.unread.update();
  shown.bar.element.hidden = ["monday", "definitions"].includes(state.page);
  document.getElementById("lead").textContent =
    state.page === "definitions"
      ? t("definitions.lead")
      : state.page === "monday"
        ? t("monday.lead", { date: date(AS_OF) })
        : pageLead();
  const unknown = document.getElementById("unknown");
  unknown.hidden = state.unknown.length === 0;
  unknown.textContent = state.unknown.length
    ? t("address.unknown", { values: state.unknown.join(", ") })
    : "";
  for (const link of app.querySelectorAll("nav a")) {
    link.setAttribute("href", address({ page: link.dataset.page, tables: {} }));
    if (link.dataset.page === state.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (last.language !== state.language || last.page !== state.page) bringIntoView();
  for (const [id, value] of Object.entries(CONTROLS)) {
    const control = document.getElementById(id);
    if (control) control.value = value();
  }
  const started = performance.now();
  shown.update();
  document.documentElement.dataset.redraw = (performance.now() - started).toFixed(1);
  if (last.page !== null && last.page !== state.page) {
    scrollTo(0, 0);
    shown.main.focus({ preventScroll: true });
    announce(t(`page.${state.page}`));
  } else if (last.page !== null) {
    announce(t("filter.changed", { filters: filtersInWords() }));
    if (last.language !== state.language && focused) document.getElementById(focused)?.focus();
  }
}

function pageLead() {
  if (state.page === "health") return t("health.lead", { filters: span(state.range) });
  const level = levelFor(state.page === "campaigns" ? "campaign" : "total");
  const before = periodBefore(shownRange(level), level);
  const against =
    ["overview", "campaigns"].includes(state.page) && before
      ? ` · ${t("overview.against", { before: span(before.range) })}`
      : "";
  return `${filtersInWords()}${against}`;
}

addEventListener("hashchange", render);
// Paper is light: redraw what was drawn in dark colours.
addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  shown.update();
});
addEventListener("afterprint", render);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
render();
