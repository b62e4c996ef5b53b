/*
 * Remembers how a visitor first came, gives it to forms, and ties WhatsApp chats to it by a code.
 *
 *   <script src="/ctwa.js" data-site="aurora" data-receiver="https://hooks.example.com" defer></script>
 *
 * docs/connect/website.md says what is stored where. Nothing is stored or sent under Global Privacy
 * Control, or while window.ctwaConsent is false.
 */
(() => {
  "use strict";
  const KEPT = "ctwa";
  const KEPT_MS = 90 * 86400000;
  const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const NAMES = (
    "utm_source utm_medium utm_campaign utm_content utm_term utm_id " +
    "gclid gbraid wbraid fbclid msclkid ad_id adset_id campaign_id " +
    "hsa_ad hsa_grp hsa_cam hsa_net gad_campaignid gad_source campaignid adgroupid creative"
  ).split(" ");
  const CODE = /\s*\(CW-[0-9A-Z]{5}-[0-9A-Z]{5}\)/g;
  const settings = (document.currentScript || { dataset: {} }).dataset;
  let memory = null; // where all stores are blocked

  const isAllowed = () => !navigator.globalPrivacyControl && window.ctwaConsent !== false;

  // What `use` finds in the first available store; blocked ones throw.
  const inStores = (use) => {
    for (const kind of ["localStorage", "sessionStorage"]) {
      try {
        const found = use(window[kind]);
        if (found) return found;
      } catch (blocked) { /* the next one */ }
    }
    return null;
  };

  const isFresh = (kept) => kept && kept.first && Date.now() - kept.first.at < KEPT_MS && kept;

  const read = () =>
    isFresh(memory) || inStores((store) => isFresh(JSON.parse(store.getItem(KEPT))));

  const write = (kept) => {
    memory = kept;
    inStores((store) => { store.setItem(KEPT, JSON.stringify(kept)); return true; });
  };

  const forget = () => {
    memory = null;
    inStores((store) => store.removeItem(KEPT));
  };

  // Host, path, and only the query parameters named above.
  const here = () => {
    let page = location.origin + location.pathname.slice(0, 512);
    let mark = "?";
    new URLSearchParams(location.search).forEach((value, key) => {
      const name = key.toLowerCase();
      const part = mark + name + "=" + encodeURIComponent(value.slice(0, 513));
      if (value && NAMES.includes(name) && page.length + part.length < 4000) {
        page += part;
        mark = "&";
      }
    });
    const before = document.referrer ? new URL(document.referrer).origin : "";
    const referrer = before === location.origin ? "" : before;
    return { page, referrer, at: Date.now(), tells: mark === "&" || !!referrer };
  };

  const remember = () => {
    if (!isAllowed()) return;
    const kept = read();
    const last = here();
    if (!kept || last.tells) write({ first: kept ? kept.first : last, last });
  };

  // The "first" or the "last" visit that showed where somebody came from.
  const touch = (which) => {
    if (!isAllowed()) return null;
    if (!read()) remember();
    return read()[which];
  };

  const random = (count) => Array.from(crypto.getRandomValues(new Uint8Array(count)));

  // The same as ctwa/link_code.py: ten bits of FNV-1a over site and body.
  const newCode = () => {
    const body = random(8).map((byte) => ALPHABET[byte & 31]).join("");
    let value = 0x811c9dc5;
    for (const letter of settings.site + ":" + body) {
      value = Math.imul(value ^ letter.charCodeAt(0), 0x01000193);
    }
    value ^= value >>> 16;
    return body + ALPHABET[(value >>> 5) & 31] + ALPHABET[value & 31];
  };

  const tell = (code) => {
    const { page, referrer } = touch("first");
    const click = { code, page_url: page, referrer, clicked_at: new Date().toISOString() };
    navigator.sendBeacon(settings.receiver.replace(/\/+$/, "") + "/clicks", JSON.stringify(click));
  };

  // Short links (wa.me/message/…) accept no text.
  const isWhatsApp = (url) =>
    /^https?:\/\/(www\.)?wa\.me\/(\+?\d+)?\/?(\?|$)/.test(url.href) ||
    /^(https?:\/\/(api|web)\.whatsapp\.com|whatsapp:\/)\/send\b/.test(url.href);

  // A chat's address with a code in its text; anything else as it is.
  const link = (href, text) => {
    try {
      const url = new URL(href, location.href);
      if (!isWhatsApp(url) || !settings.site || !settings.receiver || !isAllowed()) return href;
      const code = newCode();
      const given = (url.searchParams.get("text") || text || settings.text || "").replace(CODE, "");
      const shown = ` (CW-${code.slice(0, 5)}-${code.slice(5)})`;
      url.searchParams.set("text", (given + shown).trim());
      url.search = url.search.replace(/\+/g, "%20");
      tell(code);
      return url.href;
    } catch (odd) {
      return href;
    }
  };

  const fields = () => {
    const first = touch("first");
    const id = random(16).map((byte) => (byte + 256).toString(16).slice(1)).join("");
    return first
      ? { ctwa_page_url: first.page, ctwa_referrer: first.referrer, ctwa_lead_id: id }
      : {};
  };

  const origin = (event) => (event.composedPath ? event.composedPath()[0] : event.target);
  const isOff = (element) => element.closest("[data-ctwa=off]");

  const onClick = (event) => {
    const from = origin(event);
    const anchor = from.closest && from.closest("a[href]");
    if (!anchor || isOff(anchor) || event.button > 1) return;
    const old = anchor.getAttribute("href");
    const coded = link(old, anchor.dataset.text);
    if (coded !== old) anchor.setAttribute("href", coded);
  };

  // Searches and sign-ins are not leads.
  const onSubmit = (event) => {
    const form = origin(event);
    if (isOff(form) || form.querySelector("[type=search],[type=password]")) return;
    Object.entries(fields()).forEach(([name, value]) => {
      const known = form.querySelector(`[name=${name}]`);
      const field = known || form.appendChild(document.createElement("input"));
      if (!known) Object.assign(field, { type: "hidden", name });
      field.value = value;
    });
  };

  remember();
  document.addEventListener("click", onClick, true);
  document.addEventListener("auxclick", onClick, true);
  document.addEventListener("submit", onSubmit, true);
  window.ctwa = { fields, link, remember, forget, touch };
})();
