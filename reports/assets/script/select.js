// The state is what the address says; nothing is kept elsewhere.
const LISTS = ["status", "severity"], NUMBERS = ["page", "leaf"];
const FILTERS = ["q", "benchmark", "control", "target", "group", "level", "mark", "age", "subject"];
const TEXTS = [...FILTERS, "by", "sort", "finding", "see", "kind"];
const SORTS = {
  status: (f) => statusOf(f),
  severity: (f) => byLevel[f],
  control: (f) => findings.control[f],
  target: (f) => alphabetical[findings.target[f]],
};
function parsed(hash) {
  const given = new URLSearchParams(hash.includes("=") ? hash : "");
  const made = {};
  for (const name of LISTS) made[name] = (given.get(name) || "").split(",").filter((v) => v);
  for (const name of TEXTS) made[name] = given.get(name) || "";
  for (const name of NUMBERS) made[name] = Math.max(1, parseInt(given.get(name) || "1", 10) || 1);
  return made;
}
const read = () => parsed(location.hash.slice(1));
function address(wanted) {
  const out = new URLSearchParams();
  for (const name of LISTS) if (wanted[name].length) out.set(name, wanted[name].join(","));
  for (const name of TEXTS) if (wanted[name]) out.set(name, wanted[name]);
  for (const name of NUMBERS) if (wanted[name] > 1) out.set(name, wanted[name]);
  return "#" + (out.toString() || "findings");
}
/** Return the address that says this and nothing else. */
const only = (change) => address({ ...parsed(""), ...change });
let state = read(), shown = byRank, lowered = null;
function go(change) {
  state = { ...state, ...change };
  history.replaceState(null, "", address(state));
  render();
}
const wordsOf = (query) => query.toLowerCase().split(/\s+/).filter((w) => w);
function holding(word) {
  lowered = lowered || strings.map((s) => s.toLowerCase());
  const found = new Uint8Array(lowered.length);
  for (let n = 0; n < found.length; n++) if (lowered[n].includes(word)) found[n] = 1;
  return found;
}

/** Return for each word of a query which findings hold it; every word must stand somewhere in a finding. */
function matcher(query) {
  return wordsOf(query).map((word) => {
    const holds = holding(word);
    const r = results.status.map((_, n) => holds[results.expected[n]] | holds[results.actual[n]] | holds[results.source[n]]);
    const t = targets.map((x) => holds[x[0]] || holds[x[2]] || x[5].some((g) => holds[g]));
    const c = controls.map((x) => [1, 2, 6, 7, 8, 9].some((n) => holds[x[n]]) || benchmarks[x[0]].toLowerCase().includes(word));
    const e = new Uint8Array(evidence.status.length);
    for (let n = 0; n < e.length; n++) {
      let hit = holds[evidence.reason[n]] | holds[evidence.decided[n]];
      for (let o = evidence.start[n], end = evidence.start[n + 1]; !hit && o < end; o++) hit = holds[observations.subject[o]] | r[observations.result[o]];
      e[n] = hit;
    }
    return (f) => t[findings.target[f]] || c[findings.control[f]] || e[findings.evidence[f]];
  });
}
/** Return which strings are the subject that is asked for: itself, what stands below it, or all that begin so. */
function subjectsAsked() {
  const asked = state.subject, below = asked.endsWith("/") ? asked : asked + "/";
  return Uint8Array.from(strings, (s) => (s === asked || s.startsWith(below) ? 1 : 0));
}

/** Return the findings that the filters leave, in the order that is asked for. */
function select() {
  const tests = [];
  if (state.status.length) {
    const wanted = statuses.map((s) => state.status.includes(s));
    tests.push((f) => wanted[byStatus[f]]);
  }
  if (state.severity.length || state.benchmark || state.control || state.level) {
    const wanted = controls.map((c) => (!state.severity.length || state.severity.includes(severities[c[5]]))
      && (!state.benchmark || benchmarks[c[0]] === state.benchmark) && (!state.control || controlRef(c) === state.control)
      && (!state.level || String(c[3]) === state.level));
    tests.push((f) => wanted[findings.control[f]]);
  }
  if (state.target || state.group) {
    const wanted = targets.map((t) => (!state.target || strings[t[0]] === state.target) && (!state.group || t[5].some((g) => strings[g] === state.group)));
    tests.push((f) => wanted[findings.target[f]]);
  }
  if (state.mark) {
    const wanted = evidence.mark.map((m) => (state.mark === "none" ? !strings[m] : strings[m] === state.mark));
    tests.push((f) => wanted[findings.evidence[f]]);
  }
  if (state.age) tests.push((f) => f in data.since && (strings[data.since[f]] === data.new) === (state.age === "new"));
  if (state.subject) {
    const asked = subjectsAsked(), wanted = new Uint8Array(evidence.status.length);
    for (let e = 0; e < wanted.length; e++) for (let o = evidence.start[e]; o < evidence.start[e + 1]; o++) if (asked[observations.subject[o]]) wanted[e] = 1;
    tests.push((f) => wanted[findings.evidence[f]]);
  }
  tests.push(...matcher(state.q));
  const kept = tests.length ? new Uint32Array(count) : byRank;
  let n = tests.length ? 0 : count;
  for (let i = n; i < count; i++) {
    const f = byRank[i];
    let good = true;
    for (let t = 0; good && t < tests.length; t++) good = tests[t](f);
    if (good) kept[n++] = f;
  }
  const found = kept.subarray(0, n), descending = state.sort.startsWith("-"), key = !state.by && SORTS[state.sort.replace("-", "")];
  if (!key) return found;
  const packed = new Float64Array(n);
  for (let i = 0; i < n; i++) packed[i] = (descending ? 1e6 - key(found[i]) : key(found[i])) * count + rank[found[i]];
  packed.sort();
  return Uint32Array.from(packed, (k) => byRank[k % count]);
}
