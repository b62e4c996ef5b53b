// Real <table> elements; TanStack Table sorts and pages the rows.

const PAGE_SIZE = 25;
const PRINTED_ROWS = 500;
const tableStates = new Map();
const liveTables = new Set();

const compareNumbers = (a, b, id) => a.getValue(id) - b.getValue(id);
const compareTexts = (a, b, id) =>
  a.getValue(id).localeCompare(b.getValue(id), locale(), { numeric: true });

// columns: {id, label, hint?, numeric?, value(row), format?(value), cell?(row, value),
// csv?(row, isRaw), also?: [label, value(row)][]}; the first one names the row, `also` are columns of
// the CSV only.
// Returns the element, `note(text)` and `update(rows, total)`; `total` is the footer row. How it is sorted and
// searched is in the address.
function dataTable({ id, caption, columns, sort = null, search = null, pageSize = PAGE_SIZE }) {
  const kept = { pageSize, ...tableStates.get(id), ...askedOf(id, columns, sort) };
  tableStates.set(id, kept);
  let rows = [];
  let total = null;
  const table = tables.createTable({
    data: [],
    columns: columns.map((column) => ({
      id: column.id,
      accessorFn: (row) => column.value(row) ?? undefined,
      sortFn: column.numeric ? compareNumbers : compareTexts,
      sortUndefined: "last",
      sortDescFirst: Boolean(column.numeric),
    })),
    initialState: { sorting: kept.sorting, pagination: { pageIndex: 0, pageSize: kept.pageSize } },
    enableSortingRemoval: false,
    autoResetPageIndex: false,
  });

  // Before the label for numbers, which are aligned right.
  const sign = () => h("span", { class: "mark", "aria-hidden": "true" });
  const heads = columns.map((column) =>
    h(
      "th",
      { scope: "col", class: column.numeric ? "number" : null },
      h(
        "button",
        {
          type: "button",
          class: "sort",
          title: column.hint ?? null,
          onclick: () => toggle(column),
        },
        column.numeric ? [sign(), column.label] : [column.label, sign()],
      ),
    ),
  );
  const body = h("tbody");
  const foot = h("tfoot");
  const pager = h("div", { class: "pager" });
  const field = search
    ? searchField(id, kept, () => {
        note(`find.${id}`, kept.query.trim());
        show(true);
      })
    : null;
  const said = h("p", { class: "note", hidden: true });
  const download = downloadMenu(id, () => ({ columns, rows: sortedRows() }));
  const frame = h(
    "div",
    { class: "table-frame", role: "region", tabindex: "0", "aria-label": caption },
    h(
      "table",
      { id: `table-${id}` },
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads)),
      body,
      foot,
    ),
  );

  function toggle(column) {
    table.getColumn(column.id).toggleSorting();
    kept.sorting = table.store.state.sorting;
    const [now] = kept.sorting;
    const isUsual = sort && now.id === sort.id && now.desc === sort.desc;
    note(`sort.${id}`, isUsual ? null : `${now.id}${now.desc ? "-" : ""}`);
    table.setPageIndex(0);
    show();
    announce(t("table.sorted", { column: column.label }));
  }

  function row(of, isTotal = false) {
    return h(
      "tr",
      {},
      columns.map((column, at) => {
        const value = column.value(of);
        const content =
          isTotal && at === 0
            ? t("table.total")
            : isTotal && !column.numeric
              ? ""
              : column.cell && (!isTotal || column.inTotal)
                ? column.cell(of, value)
                : column.numeric
                  ? figureOf((column.format ?? number)(value), value, column.id)
                  : (column.format ?? String)(value ?? NOTHING);
        const attributes = { class: column.numeric ? "number" : null };
        return at === 0
          ? h("th", { scope: "row", ...attributes }, content)
          : h("td", attributes, content);
      }),
    );
  }

  function matching() {
    const query = kept.query.trim().toLocaleLowerCase();
    return query ? rows.filter((one) => search(one).toLocaleLowerCase().includes(query)) : rows;
  }

  function show(isFiltered = false) {
    const query = kept.query.trim();
    const found = matching();
    if (isFiltered) table.setPageIndex(0);
    table.setOptions((options) => ({ ...options, data: found }));
    const { pageIndex } = table.store.state.pagination;
    if (pageIndex > 0 && pageIndex >= table.getPageCount()) table.setPageIndex(0);
    const shown = table.getRowModel().rows;
    fill(
      body,
      shown.length
        ? shown.map((one) => row(one.original))
        : h("tr", {}, h("td", { colspan: columns.length, class: "empty" }, t("table.empty"))),
    );
    fill(foot, total && !query && rows.length > 1 ? row(total, true) : null);
    columns.forEach((column, at) => {
      const sorted = table.getColumn(column.id).getIsSorted();
      if (sorted)
        heads[at].setAttribute("aria-sort", sorted === "asc" ? "ascending" : "descending");
      else heads[at].removeAttribute("aria-sort");
    });
    showPager(found.length);
  }

  function showPager(count) {
    const { pageIndex, pageSize: size } = table.store.state.pagination;
    const button = (label, to, isOff) =>
      h(
        "button",
        {
          type: "button",
          class: "plain",
          disabled: isOff,
          onclick: () => {
            table.setPageIndex(to);
            show();
            frame.focus();
          },
        },
        label,
      );
    const all = kept.pageSize > pageSize;
    const toggleAll = () => {
      resize(all ? pageSize : 1e6);
      frame.focus();
    };
    pager.hidden = count <= pageSize;
    fill(
      pager,
      h(
        "span",
        {},
        t("table.range", {
          from: number(pageIndex * size + 1),
          to: number(Math.min(count, (pageIndex + 1) * size)),
          count: number(count),
        }),
      ),
      all ? null : button(t("table.previous"), pageIndex - 1, pageIndex === 0),
      all ? null : button(t("table.next"), pageIndex + 1, (pageIndex + 1) * size >= count),
      h(
        "button",
        { type: "button", class: "plain", onclick: toggleAll },
        t(all ? "table.fewer" : "table.all"),
      ),
    );
  }

  // All rows that are found, in the order of the table.
  function sortedRows() {
    const size = table.store.state.pagination.pageSize;
    table.setPageSize(1e9);
    const all = table.getRowModel().rows.map((one) => one.original);
    table.setPageSize(size);
    return all;
  }

  function resize(size) {
    kept.pageSize = size;
    table.setPageSize(size);
    show(true);
  }

  const live = {
    element: h(
      "div",
      { class: "data-table" },
      h("div", { class: "table-tools" }, field, download),
      said,
      frame,
      pager,
    ),
    // What is to be known of all rows; null: nothing.
    note(text) {
      said.hidden = text === null;
      fill(said, text);
    },
    update(newRows, newTotal = null) {
      const asked = askedOf(id, columns, sort);
      if (JSON.stringify(asked.sorting) !== JSON.stringify(kept.sorting))
        table.setSorting(asked.sorting);
      Object.assign(kept, asked);
      if (field) field.querySelector("input").value = kept.query;
      rows = newRows;
      total = newTotal;
      show();
    },
    print(isPrinting) {
      table.setPageSize(isPrinting ? Math.max(kept.pageSize, PRINTED_ROWS) : kept.pageSize);
      show(true);
    },
  };
  liveTables.add(live);
  return live;
}

// What the address says of a table.
function askedOf(id, columns, sort) {
  const asked = state.tables[`sort.${id}`] ?? "";
  const column = columns.find((one) => one.id === asked.replace(/-$/, ""));
  const sorting = column ? [{ id: column.id, desc: asked.endsWith("-") }] : sort ? [sort] : [];
  return { sorting, query: state.tables[`find.${id}`] ?? "" };
}

function searchField(id, kept, onchange) {
  const input = h("input", {
    type: "search",
    id: `search-${id}`,
    placeholder: t("table.search"),
    value: kept.query,
    oninput: () => {
      kept.query = input.value;
      onchange();
    },
  });
  return h(
    "div",
    { class: "search" },
    h("label", { for: `search-${id}`, class: "unseen" }, t("table.search")),
    input,
  );
}

// In print, show every row.
addEventListener("beforeprint", () => liveTables.forEach((table) => table.print(true)));
addEventListener("afterprint", () => liveTables.forEach((table) => table.print(false)));
