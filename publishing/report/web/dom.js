// Elements from values. Text is always text: nothing from the data is parsed as HTML.

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

function fill(element, ...children) {
  element.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

// For screen readers only.
function aside(text) {
  return h("span", { class: "unseen" }, text);
}

// A number as people read it, and its exact value for tests and for anyone who inspects the page.
function figureOf(text, value, name) {
  const known = value !== null && value !== undefined && !Number.isNaN(value);
  return h(
    "data",
    { value: known ? value : "", "data-figure": name ?? null, class: value ? null : "zero" },
    text,
  );
}

// Icons drawn as paths: no font and no image is fetched.
const ICONS = {
  overview: "M4 19V9m6 10V5m6 14v-7m4 7H2",
  campaigns: "M3 11v3l11 4V6L3 10zm11-3 6-3v14l-6-3M6 15v4h3v-3",
  creatives: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 5M15.5 9.5h.01",
  leads: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-4 4-6 8-6s8 2 8 6",
  funnel: "M3 5h18l-7 8v6l-4-2v-4z",
  monday: "M5 4v17M5 5h13l-3 4 3 4H5",
  answering: "M4 5h16v11H9l-5 4zM8 9h8M8 12h5",
  cohorts: "M4 5h16M4 12h11M4 19h6",
  health: "M3 12h4l3-7 4 14 3-7h4",
  definitions: "M5 4h11a3 3 0 0 1 3 3v13H8a3 3 0 0 1-3-3zM9 8h6m-6 4h6",
  image: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 5M15.5 9.5h.01",
  video: "M3 5h18v14H3zM10 9l5 3-5 3z",
  text: "M5 7h14M5 12h14M5 17h8",
  arrow: "M5 12h14m-5-5 5 5-5 5",
  brand: "M4 17l6-6 4 4 6-9",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name] ?? ICONS.text);
  svg.append(path);
  return svg;
}
