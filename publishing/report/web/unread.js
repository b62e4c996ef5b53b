// Unread spend of the accounts, noted on every page: a dash needs a reason.

// Platforms without a source of spend: their rows show a dash, but do not affect other sums.
const UNREADABLE = new Set(
  DATA.unread.filter((one) => one.reason === "no_source").map((one) => one.platform),
);

const unreadIn = (one, [from, to]) => one.from <= to && one.to >= from;

// Whether amounts of a period are unknown because of unread days.
function holdsUnread(range) {
  return DATA.unread.some(
    (one) => one.status === "unread" && one.reason !== "no_source" && unreadIn(one, range),
  );
}

// Accounts not read for a whole day or more. Yesterday, before the nightly read, does not count: it
// was read, but was not over.
const SILENT = new Set(
  DATA.unread
    .filter((one) => one.trailing && one.status === "unread" && one.reason !== "never_read")
    .map((one) => one.account),
);

// One line per account and reason; the unread end of an account is one line, whatever the reasons.
function unreadLines() {
  const lines = new Map();
  for (const one of DATA.unread) {
    const isLasting = one.trailing || one.reason === "never_read";
    if (!isLasting && !unreadIn(one, state.range)) continue;
    const account = one.account < 0 ? null : ACCOUNTS[one.account];
    if (account && state.accounts.length && !state.accounts.includes(account.key)) continue;
    const reason = one.trailing && SILENT.has(one.account) ? "after_last_read" : one.reason;
    const key = `${one.platform} ${one.account} ${reason}`;
    const line = lines.get(key) ?? { ...one, reason, name: unreadName(one.platform, account) };
    line.from = Math.min(line.from, one.from);
    line.to = Math.max(line.to, one.to);
    lines.set(key, line);
  }
  return [...lines.values()];
}

function unreadName(platform, account) {
  if (!account) return platformName(platform);
  const id = account.name && account.name !== account.id ? ` (${account.id})` : "";
  return `${platformName(platform)} · ${account.name ?? account.id}${id}`;
}

function unreadText(line) {
  const values = {
    account: line.name,
    since: date(line.from),
    until: date(line.to + 1),
    days: line.from === line.to ? date(line.from) : span([line.from, line.to]),
  };
  return t(`unread.${line.reason}`, values);
}

// The note above every page; hidden if everything was read.
function unreadNotice() {
  const element = h("section", {
    class: "unread-note",
    id: "unread",
    "aria-labelledby": "unread-title",
    hidden: true,
  });
  return {
    element,
    update() {
      const lines = unreadLines();
      element.hidden = lines.length === 0;
      const isIn = holdsUnread(state.range);
      const cut = LAST_DAY < AS_OF - 1 && !isIn;
      fill(
        element,
        h("p", { class: "first", id: "unread-title" }, t("unread.title")),
        h(
          "ul",
          {},
          lines.map((line) => h("li", {}, unreadText(line))),
        ),
        isIn
          ? h("p", {}, t("unread.in_period"))
          : cut
            ? h("p", {}, t("unread.cut", { date: date(LAST_DAY) }))
            : null,
      );
    },
  };
}
