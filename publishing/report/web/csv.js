// Tables as CSV: for the reader's spreadsheet, or with raw numbers for programs.

// Text that a spreadsheet would take for a formula is marked as text: also with blanks or invisible
// characters before it, or written in full width.
const FORMULA = /^(?:[\t\r\n]|[\p{Z}\p{C}]*[=+\-@＝＋－＠﹢﹣﹦﹫])/u;
const neutral = (text) => (FORMULA.test(text) ? `'${text}` : text);

function csvOf({ columns, rows }, isRaw) {
  const sample = new Intl.NumberFormat(locale()).format(1.5);
  const isComma = !isRaw && sample.includes(",");
  const delimiter = isComma ? ";" : ",";
  const numeral = (value) => {
    const text = String(Math.round(value * 1e6) / 1e6);
    return isComma ? text.replace(".", ",") : text;
  };
  const cell = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value === "number") return numeral(value);
    const text = neutral(String(value));
    return /["\r\n,;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const fields = columns.flatMap((column) => [
    [column.label, column.csv ?? column.value],
    ...(column.also ?? []),
  ]);
  const lines = [
    fields.map(([label]) => cell(label)),
    ...rows.map((row) => fields.map(([, value]) => cell(value(row, isRaw)))),
  ];
  return `${lines.map((line) => line.join(delimiter)).join("\r\n")}\r\n`;
}

// Columns for the CSV of the ends of an interval that stands in one cell of the table.
const ends = (name, low, high) => [
  [t("csv.from", { name }), low],
  [t("csv.to", { name }), high],
];

// `given()`: the columns and all rows of a table, in its order.
function downloadMenu(id, given) {
  const link = (isRaw) =>
    h(
      "button",
      {
        type: "button",
        class: "plain",
        onclick: () => save(`${id}${isRaw ? "-raw" : ""}.csv`, csvOf(given(), isRaw)),
      },
      t(isRaw ? "csv.raw" : "csv.local"),
    );
  const details = h(
    "details",
    { class: "download" },
    h("summary", { class: "plain" }, t("csv.title")),
    h("div", { class: "panel" }, link(false), link(true)),
  );
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") details.open = false;
  });
  return details;
}

function save(name, text) {
  // With a byte order mark: spreadsheets read the rest as UTF-8 then.
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
