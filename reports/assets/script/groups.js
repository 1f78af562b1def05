// The same findings by control, by target or by subject.
const GROUPS = {
  control: { name: "Control", reach: "Targets", size: controls.length, title: (g) => `${strings[controls[g][1]]} ${strings[controls[g][2]]}`, note: (g) => benchmarks[controls[g][0]],
    narrow: (g) => ({ control: controlRef(controls[g]) }), ranks: () => Uint32Array.from(controls, (_, n) => n) },
  target: { name: "Target", reach: "Controls", size: targets.length, title: (g) => strings[targets[g][0]], note: (g) => targets[g][1],
    narrow: (g) => ({ target: strings[targets[g][0]] }), ranks: () => alphabetical },
  subject: { name: "Subject", reach: "Targets", size: strings.length, title: (g) => strings[g], note: () => "",
    narrow: (g) => ({ subject: strings[g] }), ranks: () => places(strings) },
};
// A cluster's subjects on its nodes, by node.
const nodes = [], nodeOf = new Int32Array(strings.length).fill(-1);
{
  const known = new Map();
  strings.forEach((s, n) => {
    if (!s.startsWith("node/")) return;
    const node = s.split("/", 2).join("/");
    if (!known.has(node)) known.set(node, nodes.push(node) - 1);
    nodeOf[n] = known.get(node);
  });
}
GROUPS.node = { ...GROUPS.subject, name: "Node", size: nodes.length, title: (g) => nodes[g], narrow: (g) => ({ subject: nodes[g] }), ranks: () => places(nodes) };
const NONE = severities.length;
const ranksBy = {};
let byTarget = null;

/** Return the numbers of a column's rows in the order of its values, which are below a limit. */
function bucketed(column, limit) {
  const next = new Uint32Array(limit + 1), made = new Uint32Array(column.length);
  for (const value of column) next[value + 1]++;
  for (let n = 1; n <= limit; n++) next[n] += next[n - 1];
  for (let n = 0; n < column.length; n++) made[next[column[n]]++] = n;
  return made;
}

function index() { byTarget = byTarget || bucketed(findings.target, targets.length); }

/** Return the groups of the shown findings: {ids, counts (five a group), worst (severity of a failure), reach}, as the sort asks. */
function grouped() {
  const { size, ranks } = GROUPS[state.by];
  const counts = new Uint32Array(size * 5), worst = new Uint8Array(size).fill(NONE), reach = new Uint32Array(size);
  if (state.by === "subject" || state.by === "node") {
    // In the order of the targets, so that each counts once a subject.
    index();
    const kept = new Uint8Array(count), last = new Int32Array(size).fill(-1);
    for (let n = 0; n < shown.length; n++) kept[shown[n]] = 1;
    const asked = state.subject ? subjectsAsked() : null, wanted = statuses.map((s) => !state.status.length || state.status.includes(s));
    const nodewise = state.by === "node", { start } = evidence, { subject: subjects } = observations;
    for (let n = 0; n < count; n++) {
      const f = byTarget[n];
      if (!kept[f]) continue;
      const e = findings.evidence[f], t = findings.target[f], level = byLevel[f];
      for (let o = start[e], end = start[e + 1]; o < end; o++) {
        const subject = subjects[o], g = nodewise ? nodeOf[subject] : subject, s = observedStatus[o];
        if (g < 0 || (asked && !asked[subject]) || !wanted[s]) continue;
        counts[g * 5 + s]++;
        if (s === FAIL && level < worst[g]) worst[g] = level;
        if (last[g] !== t) { last[g] = t; reach[g]++; }
      }
    }
  } else {
    const of = findings[state.by];
    for (let n = 0; n < shown.length; n++) {
      const f = shown[n], g = of[f], s = byStatus[f];
      counts[g * 5 + s]++;
      if (s === FAIL && byLevel[f] < worst[g]) worst[g] = byLevel[f];
      reach[g]++;
    }
  }
  const ids = [];
  for (let g = 0; g < size; g++) if (reach[g]) ids.push(g);
  const most = 2 ** 20 - 1, by = state.sort.replace("-", "");
  if (by === "name") ranksBy[state.by] = ranksBy[state.by] || ranks();
  const rankOf = (by === "name" && ranksBy[state.by]) || null;
  const keys = {
    name: () => 0,
    worst: (g) => worst[g] * 2 ** 20 + most - Math.min(counts[g * 5 + FAIL], most),
    reach: (g) => reach[g],
    ...Object.fromEntries(statuses.map((s, n) => [s, (g) => counts[g * 5 + n]])),
  };
  const key = keys[by] || keys.worst, sign = state.sort.startsWith("-") ? -1 : 1;
  const first = new Float64Array(size), second = by === "name" ? sign : 1;
  for (const g of ids) first[g] = sign * key(g);
  ids.sort((a, b) => first[a] - first[b] || (rankOf ? second * (rankOf[a] - rankOf[b]) : a - b));
  return { ids, counts, worst, reach };
}
function groupRow(g, { counts, worst, reach }) {
  const kind = GROUPS[state.by], note = kind.note(g);
  const numbers = statuses.map((s, n) => el("td", { className: "num", "data-label": WORDS[s] }, counts[g * 5 + n] ? number(counts[g * 5 + n]) : el("span", { className: "muted" }, "0")));
  const link = el("a", { href: address({ ...state, ...kind.narrow(g), by: "", sort: "", page: 1, finding: "" }) }, short(kind.title(g), 200));
  return el("tr", {}, el("th", { scope: "row", "data-label": kind.name }, link, note ? el("span", { className: "muted" }, ` ${note}`) : null),
    cell("Worst failure", worst[g] < NONE ? severity(worst[g]) : el("span", { className: "muted" }, "none")), ...numbers, el("td", { className: "num", "data-label": kind.reach }, number(reach[g])));
}
