
// Notebooks, their comparison and the search. Extras, too: what they make is made here.
const made = (tag, given = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), given);
  element.append(...inside);
  return element;
};
const tells = document.body.appendChild(made("div", { className: "unseen" }));
tells.setAttribute("role", "status");

// Copies of code and of outputs, tables as rows with tabs.
const copied = (element) => {
  if (element.matches("table")) {
    return [...element.rows].map((row) => [...row.cells]
      .map((cell) => [...cell.childNodes].filter((part) => part.className !== "meaning")
        .map((part) => part.textContent).join("").trim()).join("\t")).join("\n");
  }
  return element.matches("pre") ? element.textContent.trimEnd() : element.innerText;
};
for (const around of document.querySelectorAll("[data-copied]")) {
  const parts = [...around.querySelectorAll("table, pre, .rich")]
    .filter((part) => !part.parentElement.closest("table, pre") && !(part.matches(".rich") && part.querySelector("table, pre")));
  if (!parts.length) continue;
  const what = around.dataset.copied;
  const cell = around.closest("section");
  const button = made("button", { type: "button", className: "copy", textContent: `Copy ${what}` });
  button.setAttribute("aria-label", `Copy ${what}${cell ? ` of ${cell.getAttribute("aria-label")}` : ""}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(parts.map(copied).join("\n"));
      tells.textContent = button.textContent = "Copied";
    } catch { tells.textContent = button.textContent = "Not allowed here"; }
    setTimeout(() => { button.textContent = `Copy ${what}`; tells.textContent = ""; }, 2000);
  });
  around.prepend(button);
}

// Tables and texts that fit need no stop of the tab key.
const fit = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = target;
    if (scrollWidth > clientWidth || scrollHeight > clientHeight + 1) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const wide of document.querySelectorAll(".table, .sides-around, pre[tabindex]")) fit.observe(wide);

// Figures as large as the window; arrows lead to the next one.
const figures = [...document.querySelectorAll(".outputs figure img, .prose img, .pair figure img")]
  .filter((image) => !image.closest("a, button"));
if (figures.length) {
  const large = made("img", { alt: "Figure" }), words = made("p");
  const close = made("button", { type: "button", textContent: "Close" });
  const enlarged = document.body.appendChild(made("dialog", { className: "enlarged" }, large, made("div", {}, words, close)));
  enlarged.setAttribute("aria-label", "Figure");
  let at = 0;
  const show = (place) => {
    at = (place + figures.length) % figures.length;
    large.src = figures[at].src;
    large.alt = words.textContent = figures[at].alt;
  };
  close.addEventListener("click", () => enlarged.close());
  enlarged.addEventListener("click", (event) => { if (event.target !== close) enlarged.close(); });
  enlarged.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(at + step);
  });
  figures.forEach((image, place) => {
    const button = made("button", { type: "button", className: "enlarge" });
    button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => { show(place); enlarged.showModal(); });
  });
}

// Two figures on each other: what differs, or one fading into the other.
for (const overlay of document.querySelectorAll("[data-overlay]")) {
  const stack = overlay.querySelector(".stack");
  const fade = made("input", { type: "range", min: 0, max: 100, value: 100 });
  const differs = made("input", { type: "checkbox", checked: true });
  const draw = () => {
    stack.classList.toggle("fading", !differs.checked);
    stack.lastElementChild.style.opacity = differs.checked ? 1 : fade.value / 100;
  };
  fade.addEventListener("input", () => { differs.checked = false; draw(); });
  differs.addEventListener("change", draw);
  stack.before(made("p", { className: "controls" },
    made("label", {}, "before ", fade, " now"), made("label", {}, differs, " differences alone")));
}

// From one change to the next.
const changes = [...document.querySelectorAll("[data-change]")];
for (const keys of document.querySelectorAll("[data-keys]")) keys.hidden = false;
document.addEventListener("keydown", (event) => {
  const step = { n: 1, p: -1 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, dialog")) return;
  if (!changes[0]?.checkVisibility()) return;
  // Which one the reader is at: the one with the focus, or the last that begins above.
  let at = changes.findIndex((change) => change.contains(document.activeElement));
  if (at < 0) at = changes.findLastIndex((change) => change.getBoundingClientRect().top < 80);
  const next = changes[Math.min(Math.max(at + step, 0), changes.length - 1)];
  location.replace(`#${next.id}`);
  next.focus({ preventScroll: true });
  tells.textContent = `Change ${changes.indexOf(next) + 1} of ${changes.length}`;
});

// The search: every word has to be there; the words around the first one are shown.
for (const place of document.querySelectorAll("[data-search]")) {
  const entries = [...place.parentElement.querySelectorAll("[data-entry]")].map((element) => {
    const text = element.querySelector("p");
    return { element, text, whole: text.textContent, sought: element.textContent.toLowerCase() };
  });
  const input = made("input", { type: "search", autocomplete: "off", spellcheck: false });
  const count = made("p", { className: "soft" });
  count.setAttribute("role", "status");
  const marked = (whole, words) => {
    const first = Math.min(...words.map((word) => whole.toLowerCase().indexOf(word)).filter((found) => found >= 0));
    const start = Math.max(0, Number.isFinite(first) ? first - 60 : 0);
    const shown = (start ? "… " : "") + whole.slice(start, start + 240);
    const alone = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    return shown.split(new RegExp(`(${alone})`, "gi")).map((piece, number) => number % 2 ? made("mark", {}, piece) : piece);
  };
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const { element, text, whole, sought } of entries) {
      element.hidden = !words.every((word) => sought.includes(word));
      if (element.hidden) continue;
      found += 1;
      text.replaceChildren(...(words.length ? marked(whole, words) : [whole]));
    }
    count.textContent = words.length ? `${found} of ${entries.length} places` : `${entries.length} places`;
  };
  input.addEventListener("input", search);
  place.querySelector("[data-without-script]").hidden = true;
  place.after(made("label", { className: "search" }, "Find  ", input), count);
  search();
  if (place.checkVisibility() && !location.hash) input.focus();
}
