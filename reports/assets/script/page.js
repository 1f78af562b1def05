// What the page's controls do.
const SELECTS = ["benchmark", "control", "target", "group", "level", "mark", "age"];
/** Give a choice its values; one that has nothing to choose is left out. */
function option(name, values, label = (v) => v) {
  $(name).append(...values.map((v) => el("option", { value: v }, short(label(v), 80))));
  if (values.length < 1) $(name).closest("label").hidden = true;
}
const distinct = (values) => Array.from(new Set(values)).sort();
const marks = distinct(Array.from(new Set(evidence.mark), (m) => strings[m]).filter((m) => m));
option("benchmark", benchmarks);
option("control", controls.map(controlRef));
option("target", targets.map((t) => strings[t[0]]));
option("group", distinct(targets.flatMap((t) => t[5].map((g) => strings[g]))));
option("level", distinct(controls.map((c) => String(c[3]))));
option("mark", marks.length ? [...marks, "none"] : [], (m) => (m === "none" ? "Nothing decided" : capital(m)));
if (!Object.keys(data.since).length) $("age").closest("label").hidden = true;
if (!nodes.length) $("by").querySelector("[value=node]").remove();
const present = new Set(things.filter((_, i) => i % 4 === 0));
option("kind", data.things.kinds.filter((_, k) => present.has(k)), (k) => KINDS[k] || capital(k));

let typing;
const typed = (name, also) => $(name).addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => go({ [name]: $(name).value, ...also }), 120); });
typed("q", { page: 1 });
typed("subject", { page: 1 });
typed("see", { leaf: 1 });
for (const name of SELECTS) $(name).addEventListener("change", () => go({ [name]: $(name).value, page: 1 }));
$("by").addEventListener("change", () => go({ by: $("by").value, sort: "", page: 1 }));
$("kind").addEventListener("change", () => go({ kind: $("kind").value, leaf: 1 }));
$("csv").addEventListener("click", save);
$("filter").addEventListener("change", (event) => {
  const { name, type } = event.target;
  if (type === "checkbox") go({ [name]: Array.from($("filter").querySelectorAll(`[name=${name}]:checked`), (b) => b.value), page: 1 });
});
for (const form of ["filter", "look"]) $(form).addEventListener("submit", (event) => event.preventDefault());
$("filter").addEventListener("reset", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  go({ ...Object.fromEntries(FILTERS.map((name) => [name, ""])), status: [], severity: [], page: 1 });
});
$("table").addEventListener("click", (event) => {
  const by = event.target.dataset && event.target.dataset.sort;
  if (!by) return;
  const turns = statuses.includes(by) || by === "reach" ? ["-" + by, by, ""] : [by, "-" + by, ""];
  go({ sort: turns[(turns.indexOf(state.sort) + 1) % 3], page: 1 });
});
// Links of the page that lead to a part of the findings: what they ask for stands beside them.
for (const link of document.querySelectorAll("[data-control], [data-target], [data-subject], [data-by], a[data-status]")) {
  const { control, target, subject, by, words, status, severity: level } = link.dataset;
  const wanted = { control: control || "", target: target || "", subject: subject || words || "", by: by || "", status: status ? [status] : [], severity: level ? [level] : [] };
  link.href = only(wanted);
}

/** Follow the address: a filter shows the table, a name opens what it names. */
function follow(first) {
  const hash = location.hash.slice(1);
  if (hash.includes("=")) {
    state = read();
    render();
    if (!state.finding) $((state.see || state.kind) && address(state) === only({ see: state.see, kind: state.kind, leaf: state.leaf }) ? "inventory" : "findings").scrollIntoView();
    return;
  }
  if (first) render();
  else if (state.finding) { state.finding = ""; open(""); }
  const place = hash && document.getElementById(hash);
  const inside = place && (place.matches("tr") ? place.querySelector("details") : null);
  if (inside) { inside.open = true; place.scrollIntoView({ block: "start" }); }
}
window.addEventListener("hashchange", () => follow(false));
window.addEventListener("popstate", () => follow(false));

// Light and dark: the system's choice unless told otherwise.
const THEMES = ["system", "light", "dark"];
let theme = "system";
try { theme = localStorage.getItem("cis-auditor-theme") || "system"; } catch { /* private windows have no storage */ }
function paint() {
  if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}
$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % 3];
  try { localStorage.setItem("cis-auditor-theme", theme); } catch { /* see above */ }
  paint();
});
if (!THEMES.includes(theme)) theme = "system";
paint();

for (const fix of document.querySelectorAll("td .fix")) fix.after(copier("Copy", fix.textContent, fix));
for (const node of document.querySelectorAll(".script")) node.hidden = false;
$("explorer").hidden = false;
follow(true);
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = Array.from(document.querySelectorAll("details:not([open])"));
  if (closed.length <= 400) for (const d of closed) d.open = true; else closed = [];
});
window.addEventListener("afterprint", () => { for (const d of closed) d.open = false; });
if (window.requestIdleCallback) requestIdleCallback(index); // before anybody asks for groups
document.documentElement.dataset.ready = "yes";
