// The table of findings or of groups, and its pages.

/** Fill a navigation with what leads to other pages; there is none where there is one page. */
function pager(nav, page, pages, turn) {
  const button = (label, to) => {
    const made = el("button", { type: "button", disabled: to < 1 || to > pages }, label);
    made.addEventListener("click", () => {
      turn(to);
      const again = Array.from(nav.querySelectorAll("button:not(:disabled)"));
      (again.find((b) => b.textContent === label) || again[0] || nav).focus({ preventScroll: true });
    });
    return made;
  };
  nav.hidden = pages === 1;
  nav.replaceChildren(button("Previous", page - 1), el("span", { className: "page" }, `Page ${number(page)} of ${number(pages)}`), button("Next", page + 1));
}
function summary(f, asked) {
  const e = findings.evidence[f], end = evidence.start[e + 1], n = end - evidence.start[e];
  if (!n) return [el("span", { className: "muted" }, short(strings[evidence.reason[e]], 160))];
  let first = evidence.start[e];
  if (asked) for (let o = first; o < end; o++) if (asked[observations.subject[o]]) { first = o; break; }
  const parts = [el("span", { className: "subject" }, short(strings[observations.subject[first]], 90)), " "];
  if (asked && statusAt(first) !== evidence.status[e]) parts.push(badge(statusAt(first)), " ");
  parts.push(el("span", { className: "found" }, short(textAt(first, "actual") || "nothing", 90)));
  if (n > 1) parts.push(el("span", { className: "muted" }, ` and ${number(n - 1)} more`));
  return parts;
}
function row(f, asked) {
  const c = controlOf(f), key = keyOf(f);
  return el("tr", {}, cell("Status", badge(statusOf(f)), ...mark(findings.evidence[f])), cell("Severity", severity(c[5])),
    cell("Control", el("a", { href: address({ ...state, finding: key }), "data-key": key }, `${strings[c[1]]} ${short(strings[c[2]], 200)}`)),
    cell("Target", short(targetName(f), 120)), cell("Seen", ...summary(f, asked)));
}
function heads() {
  const made = state.by
    ? [["name", GROUPS[state.by].name], ["worst", "Worst failure"], ...statuses.map((s) => [s, WORDS[s], "num"]), ["reach", GROUPS[state.by].reach, "num"]]
    : [...Object.keys(SORTS).map((s) => [s, capital(s)]), ["", "Seen"]];
  return el("tr", {}, ...made.map(([by, label, type]) => {
    const direction = state.sort === by && by ? "ascending" : by && state.sort === "-" + by ? "descending" : "none";
    const inside = by ? el("button", { type: "button", "data-sort": by }, label) : label;
    return el("th", { scope: "col", className: type || "", ...(by ? { "aria-sort": direction } : {}) }, inside);
  }));
}
let selected = null;
function render() {
  if (state.by && !GROUPS[state.by]) state.by = "";
  const asking = JSON.stringify([...LISTS, ...FILTERS, "sort", "by"].map((name) => state[name]));
  if (selected !== asking) { shown = select(); selected = asking; }
  const found = state.by ? grouped() : null, all = found ? found.ids : shown;
  const pages = Math.max(1, Math.ceil(all.length / PAGE));
  state.page = Math.min(state.page, pages);
  const part = Array.from(all.slice((state.page - 1) * PAGE, state.page * PAGE)), asked = !found && state.subject ? subjectsAsked() : null;
  const table = $("table"), focused = document.activeElement && document.activeElement.dataset.sort;
  table.className = state.by ? "cards grouped" : "cards";
  table.tHead.replaceChildren(heads());
  table.tBodies[0].replaceChildren(...part.map((x) => (found ? groupRow(x, found) : row(x, asked))));
  if (focused) { const again = table.tHead.querySelector(`[data-sort="${focused}"]`); if (again) again.focus(); }
  const of = shown.length === count ? `${number(count)} findings` : `${number(shown.length)} of ${number(count)} findings`;
  $("found").textContent = found ? `${plural(all.length, state.by)} in ${of}${state.by === "subject" || state.by === "node" ? "; numbers count what was seen of each" : ""}` : of;
  pager($("pages"), state.page, pages, (to) => { go({ page: to }); $("found").scrollIntoView({ block: "start" }); });
  for (const box of $("filter").querySelectorAll("input[type=checkbox]")) box.checked = state[box.name].includes(box.value);
  for (const name of ["q", "subject", "see"]) if ($(name).value !== state[name]) $(name).value = state[name];
  for (const name of [...SELECTS, "by", "kind"]) $(name).value = state[name];
  look();
  open(state.finding);
}
