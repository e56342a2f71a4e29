// What the page can do beyond being read: theme, sorting, filtering, and runs at a number.

const $ = (id) => document.getElementById(id);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// Theme --------------------------------------------------------------------------------------

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

function showTheme() {
  $("theme").setAttribute("aria-pressed", String(isDark()));
}

$("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("gfl-theme", root.dataset.theme);
  } catch {
    // It holds until the page is closed.
  }
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();

// Sorting and filtering: DataTables on the tables as they stand --------------------------------

// Cells without a number stand last, whichever way a column is sorted.
const value = (cell) => {
  const text = String(cell).replace(/<[^>]*>/g, "").replace("−", "-");
  return text.trim() === "" ? NaN : Number(text);
};
const blanksLast = (sign) => (a, b) => {
  const [x, y] = [value(a), value(b)];
  return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
};
DataTable.ext.type.order["number-asc"] = blanksLast(1);
DataTable.ext.type.order["number-desc"] = blanksLast(-1);

const lists = new Map();
for (const table of all("table.data")) {
  const list = new DataTable(table, {
    autoWidth: false,
    columnDefs: [{ targets: "num", type: "number" }],
    info: false,
    order: [],
    paging: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    language: { emptyTable: "", zeroRecords: "None has that." },
  });
  lists.set(table, list);
}

// A box that filters all tables of its section; those of which nothing is left are not shown.
for (const box of all("input[data-of]")) {
  const section = $(box.dataset.of).closest("section");
  box.addEventListener("input", () => {
    for (const table of all("table.data", section)) {
      const list = lists.get(table).search(box.value).draw();
      table.closest(".box").hidden = !list.rows({ search: "applied" }).count();
    }
    for (const part of all("section.table", section)) {
      part.hidden = all(".box", part).every((one) => one.hidden);
    }
  });
}

const exactly = (text) => (text ? `^\\W*${text}$` : "");

function filterClaims() {
  const list = lists.get($("claims-list"));
  list.search($("claims-text").value);
  list.column(2).search(exactly($("claims-printed").value), { regex: true });
  list.column(3).search(exactly($("claims-ours").value), { regex: true });
  list.draw();
  const rows = list.rows({ search: "applied" }).nodes().toArray();
  const left = new Set(rows.map((row) => row.dataset.claim));
  for (const claim of all("details.claim")) claim.hidden = !left.has(claim.id);
  $("claims-count").value = `${left.size} of ${all("details.claim").length} claims`;
}
for (const id of ["claims-text", "claims-printed", "claims-ours"]) {
  $(id).addEventListener("input", filterClaims);
}

$("runs-text").addEventListener("input", () => {
  const words = $("runs-text").value.toLowerCase().split(/\s+/);
  for (const card of all(".card")) {
    const text = card.textContent.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
  }
});

// What is folded opens for a link into it, and for paper ---------------------------------------

function reveal() {
  const target = location.hash && $(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details");
  if (!folded) return;
  folded.hidden = false;
  folded.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

$("open-all").addEventListener("click", () => {
  const claims = all("details.claim");
  const open = claims.some((claim) => !claim.open);
  for (const claim of claims) claim.open = open;
  $("open-all").textContent = open ? "Close all" : "Open all";
});

let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = all("details:not([open])");
  for (const part of unfolded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of unfolded) part.open = false;
});

// The runs behind a number: on hover, focus and tap --------------------------------------------

const tip = $("tip");
let at = null; // the link that the tip belongs to
let closing = 0;

function fill(link) {
  const use = $(link.hash.slice(1));
  const card = use.closest(".card");
  const title = document.createElement("p");
  title.className = "title";
  title.append(...use.cloneNode(true).childNodes);
  const brief = card.querySelector(".brief").cloneNode(true);
  for (const cell of all(`[data-metric="${CSS.escape(link.dataset.metric)}"]`, brief)) {
    cell.classList.add("here");
  }
  for (const box of all("[tabindex]", brief)) box.removeAttribute("tabindex");
  const more = document.createElement("p");
  const jump = document.createElement("a");
  jump.href = link.hash;
  jump.textContent = "All about these runs";
  jump.addEventListener("click", hide);
  more.append(jump);
  tip.replaceChildren(title, brief, more);
}

function place(link) {
  const cell = link.getBoundingClientRect();
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = Math.min(Math.max(8, cell.left - 24), innerWidth - width - 8);
  const below = cell.bottom + 6;
  const above = cell.top - 6 - height;
  const fits = below + height <= innerHeight || above < 0;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, fits ? Math.min(below, innerHeight - height - 8) : above)}px`;
}

function show(link) {
  clearTimeout(closing);
  if (at === link) return;
  hide();
  at = link;
  fill(link);
  tip.hidden = false;
  place(link);
  link.setAttribute("aria-describedby", "tip");
}

function hide() {
  clearTimeout(closing);
  if (at) at.removeAttribute("aria-describedby");
  at = null;
  tip.hidden = true;
}

const hideSoon = () => {
  clearTimeout(closing);
  closing = setTimeout(hide, 250);
};
const linkOf = (event) => event.target.closest?.("a.run");

document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  const link = linkOf(event);
  if (link) show(link);
  else if (event.target.closest?.("#tip")) clearTimeout(closing);
  else if (at && at !== document.activeElement) hideSoon();
});
document.addEventListener("focusin", (event) => {
  const link = linkOf(event);
  // A finger's focus comes before its tap ends: what showed now would lie under it.
  if (link?.matches(":focus-visible")) show(link);
  else if (!link && !event.target.closest?.("#tip")) hide();
});
document.addEventListener("click", (event) => {
  const link = linkOf(event);
  if (!link) {
    if (!event.target.closest?.("#tip")) hide();
  } else if (event.detail) {
    event.preventDefault(); // a tap or click shows; Enter follows the link
    show(link);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  if (event.target.matches?.("a.run")) move(event);
});

// It goes with its number, and goes away with it.
function follow(event) {
  if (!at || (event.target instanceof Node && tip.contains(event.target))) return;
  const cell = at.getBoundingClientRect();
  if (cell.bottom < 0 || cell.top > innerHeight) hide();
  else place(at);
}
addEventListener("scroll", follow, { capture: true, passive: true });
addEventListener("resize", follow);

// Tab goes from row to row, the arrow keys from number to number -------------------------------

const numbers = (row) => all("a.run", row);

function move(event) {
  const link = event.target;
  const row = link.closest("tr");
  const here = numbers(row);
  const column = here.indexOf(link);
  const rows = all("tbody tr", row.closest("table")).filter((r) => numbers(r).length);
  const line = rows.indexOf(row);
  const next = {
    ArrowRight: () => here[column + 1],
    ArrowLeft: () => here[column - 1],
    ArrowDown: () => rows[line + 1] && numbers(rows[line + 1])[column],
    ArrowUp: () => rows[line - 1] && numbers(rows[line - 1])[column],
  }[event.key]?.();
  if (!next) return;
  event.preventDefault();
  next.focus();
}
for (const row of all("table.paper tbody tr")) {
  for (const link of numbers(row).slice(1)) link.tabIndex = -1;
}

root.dataset.ready = ""; // for tests
