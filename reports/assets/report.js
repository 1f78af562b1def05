"use strict";
// The table of findings: searched, filtered, sorted and paged over columns, with its state in the address.
// Texts reach the page as text only; the page's policy refuses anything else.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { strings, statuses, severities, benchmarks, targets, controls, evidence, observations, findings } = data;
  const WORDS = { pass: "Pass", fail: "Fail", error: "Error", manual: "Manual", not_applicable: "N/A" };
  const PAGE = 50, OBSERVATIONS = 100;
  const count = findings.target.length;
  const $ = (id) => document.getElementById(id);
  const number = (n) => n.toLocaleString("en-US");
  const capital = (word) => word[0].toUpperCase() + word.slice(1);

  /** Make an element: attributes as properties where they exist, children as text or nodes. */
  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key in node && key !== "list") node[key] = value; else node.setAttribute(key, value);
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
  }

  // What a finding is, by its number.
  const statusOf = (f) => evidence.status[findings.evidence[f]];
  const controlOf = (f) => controls[findings.control[f]];
  const targetName = (f) => strings[targets[findings.target[f]][0]];
  const controlRef = (c) => `${benchmarks[c[0]]}:${strings[c[1]]}`;
  const keyOf = (f) => `${controlRef(controlOf(f))}:${targetName(f)}`;

  // The default order: status, severity, control, target; worst first. Every sorting falls back on it.
  function order(keys) {
    const packed = new Float64Array(count);
    for (let f = 0; f < count; f++) packed[f] = keys(f) * count + f;
    packed.sort();
    return Uint32Array.from(packed, (k) => k % count);
  }
  const alphabetical = new Uint32Array(targets.length);
  targets.map((t, i) => [strings[t[0]], i]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)).forEach(([, i], n) => { alphabetical[i] = n; });
  const base = (f) => ((statusOf(f) * 4 + controlOf(f)[5]) * controls.length + findings.control[f]) * targets.length + alphabetical[findings.target[f]];
  const rank = new Uint32Array(count);
  {
    const numbers = Array.from({ length: count }, (_, f) => f);
    const keys = Float64Array.from(numbers, base);
    numbers.sort((a, b) => keys[a] - keys[b]).forEach((f, n) => { rank[f] = n; });
  }
  const byRank = new Uint32Array(count);
  rank.forEach((n, f) => { byRank[n] = f; });
  const SORTS = {
    status: (f) => statusOf(f),
    severity: (f) => controlOf(f)[5],
    control: (f) => findings.control[f],
    target: (f) => alphabetical[findings.target[f]],
  };

  // The state is what the address says; nothing is kept elsewhere.
  const LISTS = ["status", "severity"], TEXTS = ["q", "benchmark", "control", "target", "sort", "finding"];
  function read() {
    const hash = location.hash.slice(1);
    const given = new URLSearchParams(hash.includes("=") ? hash : "");
    const state = { page: Math.max(1, parseInt(given.get("page") || "1", 10) || 1) };
    for (const name of LISTS) state[name] = (given.get(name) || "").split(",").filter((v) => v);
    for (const name of TEXTS) state[name] = given.get(name) || "";
    return state;
  }
  function address(state) {
    const out = new URLSearchParams();
    for (const name of LISTS) if (state[name].length) out.set(name, state[name].join(","));
    for (const name of TEXTS) if (state[name]) out.set(name, state[name]);
    if (state.page > 1) out.set("page", state.page);
    return "#" + (out.toString() || "findings");
  }
  let state = read(), shown = byRank, lowered = null;
  function go(change, push) {
    state = { ...state, ...change };
    history[push ? "pushState" : "replaceState"](null, "", address(state));
    render();
  }

  /** Return for each word of a query which strings hold it. */
  function matcher(query) {
    const words = query.toLowerCase().split(/\s+/).filter((w) => w);
    if (!words.length) return null;
    lowered = lowered || strings.map((s) => s.toLowerCase());
    return words.map((word) => {
      const holds = Uint8Array.from(lowered, (s) => (s.includes(word) ? 1 : 0));
      const t = targets.map((x) => holds[x[0]] || holds[x[2]]);
      const c = controls.map((x) => holds[x[1]] || holds[x[2]] || holds[x[8]] || benchmarks[x[0]].toLowerCase().includes(word));
      const e = new Uint8Array(evidence.status.length);
      for (let n = 0; n < e.length; n++) {
        let hit = holds[evidence.reason[n]] || holds[evidence.decided[n]];
        for (let o = evidence.start[n]; !hit && o < evidence.start[n + 1]; o++) {
          hit = holds[observations.subject[o]] || holds[observations.actual[o]] || holds[observations.expected[o]] || holds[observations.source[o]];
        }
        e[n] = hit;
      }
      return (f) => t[findings.target[f]] || c[findings.control[f]] || e[findings.evidence[f]];
    });
  }

  function select() {
    const wantedStatus = state.status.length ? statuses.map((s) => state.status.includes(s)) : null;
    const wantedSeverity = state.severity.length ? severities.map((s) => state.severity.includes(s)) : null;
    const wantedControl = state.benchmark || state.control
      ? controls.map((c) => (!state.benchmark || benchmarks[c[0]] === state.benchmark) && (!state.control || controlRef(c) === state.control)) : null;
    const wantedTarget = state.target ? targets.map((t) => strings[t[0]] === state.target) : null;
    const words = matcher(state.q);
    const kept = byRank.filter((f) => (!wantedStatus || wantedStatus[statusOf(f)]) && (!wantedSeverity || wantedSeverity[controlOf(f)[5]])
      && (!wantedControl || wantedControl[findings.control[f]]) && (!wantedTarget || wantedTarget[findings.target[f]])
      && (!words || words.every((w) => w(f))));
    const descending = state.sort.startsWith("-"), key = SORTS[state.sort.replace("-", "")];
    if (!key) return kept;
    const packed = Float64Array.from(kept, (f) => (descending ? 1e6 - key(f) : key(f)) * count + rank[f]).sort();
    return Uint32Array.from(packed, (k) => byRank[k % count]);
  }

  const badge = (s) => el("span", { className: `badge ${statuses[s]}` }, WORDS[statuses[s]]);
  const mark = (e) => (strings[evidence.mark[e]] ? [" ", el("span", { className: "mark" }, capital(strings[evidence.mark[e]]))] : []);
  const severity = (s) => el("span", { className: `severity ${severities[s]}` }, capital(severities[s]));
  const cell = (label, ...children) => el("td", { "data-label": label }, ...children);
  const short = (text, limit) => (text.length > limit ? text.slice(0, limit) + "…" : text);

  function summary(f) {
    const e = findings.evidence[f], first = evidence.start[e], n = evidence.start[e + 1] - first;
    if (!n) return [el("span", { className: "muted" }, short(strings[evidence.reason[e]], 160))];
    const parts = [el("span", { className: "subject" }, short(strings[observations.subject[first]], 90)), " ",
      el("span", { className: "found" }, short(strings[observations.actual[first]] || "nothing", 90))];
    if (n > 1) parts.push(el("span", { className: "muted" }, ` and ${number(n - 1)} more`));
    return parts;
  }
  function row(f) {
    const c = controlOf(f);
    return el("tr", {}, cell("Status", badge(statusOf(f)), ...mark(findings.evidence[f])), cell("Severity", severity(c[5])),
      cell("Control", el("a", { href: address({ ...state, finding: keyOf(f) }) }, `${strings[c[1]]} ${short(strings[c[2]], 200)}`)),
      cell("Target", short(targetName(f), 120)), cell("Seen", ...summary(f)));
  }
  function render() {
    shown = select();
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    state.page = Math.min(state.page, pages);
    $("table").tBodies[0].replaceChildren(...Array.from(shown.slice((state.page - 1) * PAGE, state.page * PAGE), row));
    $("found").textContent = shown.length === count ? `${number(count)} findings` : `${number(shown.length)} of ${number(count)} findings`;
    $("page").textContent = `Page ${number(state.page)} of ${number(pages)}`;
    $("previous").disabled = state.page === 1;
    $("next").disabled = state.page === pages;
    for (const button of $("table").querySelectorAll("[data-sort]")) {
      const by = button.dataset.sort;
      const direction = state.sort === by ? "ascending" : state.sort === "-" + by ? "descending" : "none";
      button.closest("th").setAttribute("aria-sort", direction);
    }
    for (const box of $("filter").querySelectorAll("input[type=checkbox]")) box.checked = state[box.name].includes(box.value);
    if ($("q").value !== state.q) $("q").value = state.q;
    for (const name of ["benchmark", "control", "target"]) $(name).value = state[name];
    open(state.finding);
  }

  function copier(label, text) {
    const button = el("button", { type: "button", className: "copy" }, label);
    button.addEventListener("click", async () => {
      let done = true;
      try { await navigator.clipboard.writeText(text); } catch {
        const area = el("textarea", { value: text, className: "hidden" });
        button.after(area);
        area.select();
        done = document.execCommand("copy");
        area.remove();
        button.focus();
      }
      button.textContent = done ? "Copied" : "Can't copy here";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
    return button;
  }
  function seen(e) {
    const list = el("ul", { className: "observations" });
    const end = evidence.start[e + 1];
    let at = evidence.start[e];
    const more = el("button", { type: "button" });
    function fill() {
      const until = Math.min(end, at + OBSERVATIONS);
      for (; at < until; at++) {
        const facts = el("dl", { className: "seen" });
        for (const [label, value] of [["Expected", observations.expected[at]], ["Found", observations.actual[at]], ["Source", observations.source[at]]]) {
          if (strings[value] || label === "Found") facts.append(el("div", {}, el("dt", {}, label), el("dd", {}, strings[value] || "nothing")));
        }
        list.append(el("li", {}, el("span", { className: "subject" }, strings[observations.subject[at]]), " ", badge(observations.status[at]), facts));
      }
      more.textContent = `Show more (${number(end - at)} left)`;
      more.hidden = at === end;
    }
    more.addEventListener("click", fill);
    fill();
    return [list, more];
  }
  let opened = "", indexed = null;
  function open(key) {
    const dialog = $("detail");
    if (key === opened) return;
    opened = key;
    if (!key) { if (dialog.open) dialog.close(); return; }
    if (!indexed) { indexed = new Map(); for (let f = 0; f < count; f++) indexed.set(keyOf(f), f); }
    const f = indexed.get(key);
    const close = el("button", { type: "button", className: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => dialog.close());
    if (f === undefined) {
      dialog.replaceChildren(close, el("h2", { id: "detail-title" }, "No such finding"), el("p", {}, `This report holds no finding ${short(key, 300)}.`));
    } else {
      const c = controlOf(f), t = targets[findings.target[f]], e = findings.evidence[f];
      const fact = (label, ...value) => el("div", {}, el("dt", {}, label), el("dd", {}, ...value));
      const at = shown.indexOf(f);
      const step = (label, to) => {
        const button = el("button", { type: "button", disabled: to === undefined }, label);
        if (to !== undefined) button.addEventListener("click", () => go({ finding: keyOf(to) }));
        return button;
      };
      const children = [close, el("p", { className: "badges" }, badge(evidence.status[e]), " ", severity(c[5]), ...mark(e)),
        el("h2", { id: "detail-title" }, `${strings[c[1]]} ${strings[c[2]]}`),
        el("dl", { className: "facts" }, fact("Target", strings[t[0]]), fact("Benchmark", benchmarks[c[0]]),
          fact("Level", `${c[3]}, ${strings[c[4]]} assessment`), fact("Collected (UTC)", strings[t[4]] || "not collected"),
          ...(f in data.since ? [fact("Failing since", strings[data.since[f]])] : []),
          fact("Evidence SHA-256", el("span", { className: "mono digest" }, strings[t[3]] || "none")))];
      if (strings[evidence.reason[e]]) children.push(el("p", { className: "reason" }, strings[evidence.reason[e]]));
      if (strings[evidence.decided[e]]) children.push(el("p", { className: "decided" }, strings[evidence.decided[e]]));
      children.push(el("h3", {}, "Evidence"), ...seen(e));
      if (strings[c[6]]) children.push(el("h3", {}, "Why"), el("p", {}, strings[c[6]]));
      if (strings[c[9]]) children.push(el("h3", {}, "Policy inputs"), el("p", {}, strings[c[9]]));
      if (strings[c[7]]) children.push(el("h3", {}, "How to put it right"), el("p", { className: "fix" }, strings[c[7]]), copier("Copy", strings[c[7]]));
      children.push(el("p", { className: "steps" }, step("Previous", at > 0 ? shown[at - 1] : undefined), step("Next", at >= 0 ? shown[at + 1] : undefined),
        copier("Copy link", location.href.split("#")[0] + address({ ...read(), q: "", status: [], severity: [], benchmark: "", control: "", target: "", sort: "", page: 1, finding: key }))));
      dialog.replaceChildren(...children);
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    close.focus();
  }

  // Controls of the page.
  function option(name, values) { $(name).append(...values.map((v) => el("option", { value: v }, short(v, 80)))); }
  option("benchmark", benchmarks);
  option("control", controls.map(controlRef));
  option("target", targets.map((t) => strings[t[0]]));
  let typing;
  $("q").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => go({ q: $("q").value, page: 1 }), 120); });
  for (const name of ["benchmark", "control", "target"]) $(name).addEventListener("change", () => go({ [name]: $(name).value, page: 1 }));
  $("filter").addEventListener("change", (event) => {
    const { name, type } = event.target;
    if (type === "checkbox") go({ [name]: Array.from($("filter").querySelectorAll(`[name=${name}]:checked`), (b) => b.value), page: 1 });
  });
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("filter").addEventListener("reset", (event) => {
    event.preventDefault();
    go({ q: "", status: [], severity: [], benchmark: "", control: "", target: "", page: 1 });
  });
  $("table").addEventListener("click", (event) => {
    const by = event.target.dataset && event.target.dataset.sort;
    if (by) go({ sort: state.sort === by ? "-" + by : state.sort === "-" + by ? "" : by, page: 1 });
  });
  const turn = (by) => { go({ page: state.page + by }); $("found").scrollIntoView({ block: "start" }); };
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("detail").addEventListener("close", () => { if (state.finding) { opened = ""; go({ finding: "" }); } });
  $("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
  for (const link of document.querySelectorAll("[data-control]")) link.href = address({ ...read(), q: "", status: [], severity: [], benchmark: "", target: "", sort: "", page: 1, finding: "", control: link.dataset.control });

  /** Follow the address: a filter shows the table, a name opens what it names. */
  function follow(first) {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) {
      state = read();
      render();
      if (!state.finding) $("findings").scrollIntoView();
      return;
    }
    if (first) render();
    else if (state.finding) { state.finding = ""; open(""); }
    const place = hash && document.getElementById(hash);
    const inside = place && place.querySelector("details");
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

  for (const fix of document.querySelectorAll("td .fix")) fix.after(copier("Copy", fix.textContent));
  for (const node of document.querySelectorAll(".script")) node.hidden = false;
  $("explorer").hidden = false;
  follow(true);
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    if (closed.length <= 400) for (const d of closed) d.open = true; else closed = [];
  });
  window.addEventListener("afterprint", () => { for (const d of closed) d.open = false; });
  document.documentElement.dataset.ready = "yes";
})();
