// Everything here is an extra: without it the page reads the same.
"use strict";
const root = document.documentElement;
const remembered = {
  get theme() { try { return localStorage.getItem("theme"); } catch { return null; } },
  set theme(name) { try { localStorage.setItem("theme", name); } catch { /* not allowed from disk */ } },
};

// Dark or light: as the system says until the reader says otherwise.
if (remembered.theme) root.dataset.theme = remembered.theme;
for (const button of document.querySelectorAll("[data-switch=theme]")) {
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const tell = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    remembered.theme = root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  tell();
}

// All code at once.
for (const button of document.querySelectorAll("[data-switch=code]")) {
  const cells = button.closest("[data-notebook]").querySelectorAll("details.code");
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    for (const cell of cells) cell.open = open;
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Hide all code" : "Show all code";
  });
}

// Tables that can be sorted by a column.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
};
const inOrder = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
};
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      // What has no value stays below, whichever way.
      return x === "" || y === "" || up ? inOrder(x, y) : inOrder(y, x);
    });
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}

// Tables whose rows can be looked through by name; a group whose name fits stays whole.
for (const table of document.querySelectorAll("table.filtered")) {
  const field = document.createElement("input");
  field.type = "search";
  field.className = "filter";
  field.placeholder = "Filter by step or metric";
  field.setAttribute("aria-label", field.placeholder);
  table.closest(".wide").before(field);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const fits = row => row.cells[0].textContent.toLowerCase().includes(wanted);
    for (const body of table.tBodies) {
      const [group, ...rows] = body.rows;
      const whole = fits(group);
      for (const row of rows) row.hidden = !whole && !fits(row);
      body.hidden = !whole && rows.every(row => row.hidden);
    }
  });
}

// The page of a run that goes on loads itself again; where the reader was is kept.
const live = document.querySelector("[data-live]");
const folds = () => [...document.querySelectorAll("details[id]")];
const place = () => {
  const at = document.activeElement;
  return {
    y: scrollY,
    open: folds().map(fold => [fold.id, fold.open]),
    focus: at?.closest("details[id]")?.id ?? null,
    waits: live?.querySelector("button")?.getAttribute("aria-pressed") === "true",
  };
};
const was = history.state?.place;
if (was) {
  for (const [id, open] of was.open) {
    const fold = document.getElementById(id);
    if (fold) fold.open = open;
  }
  if (was.focus) document.getElementById(was.focus)?.querySelector("summary")?.focus({preventScroll: true});
  scrollTo({top: was.y, behavior: "instant"});
}
history.scrollRestoration = live ? "manual" : "auto";
if (was && !live) history.replaceState(null, "");
if (live) {
  const button = document.createElement("button");
  button.type = "button";
  const tell = waits => {
    button.setAttribute("aria-pressed", String(waits));
    button.textContent = waits ? "Load again by itself" : "Stop loading again";
  };
  tell(was?.waits ?? false);
  button.addEventListener("click", () => tell(button.getAttribute("aria-pressed") !== "true"));
  live.append(button);
  setInterval(() => {
    const now = place();
    // Not while somebody marks a text, nor where nobody looks.
    if (now.waits || document.hidden || String(getSelection()).length) return;
    history.replaceState({place: now}, "");
    location.reload();
  }, 1000 * live.dataset.live);
}
