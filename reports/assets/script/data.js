// The findings of this run, searched, filtered, grouped, sorted and paged over columns, with the state in the address.
// Texts reach the page as text only; the page's policy refuses anything else.
const data = JSON.parse(document.getElementById("data").textContent);
const { strings, statuses, severities, benchmarks, targets, controls, evidence, observations, results, findings } = data;
// Columns as plain numbers in a row: loops over hundreds of thousands of them are what a filter and a grouping take.
for (const part of [evidence, observations, results, findings]) for (const name of Object.keys(part)) part[name] = Uint32Array.from(part[name]);
const WORDS = { pass: "Pass", fail: "Fail", error: "Error", manual: "Manual", not_applicable: "N/A" };
const PAGE = 50, OBSERVATIONS = 100, FAIL = statuses.indexOf("fail");
const count = findings.target.length;
const $ = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString("en-US");
const capital = (word) => word[0].toUpperCase() + word.slice(1);
const short = (text, limit) => (text.length > limit ? text.slice(0, limit) + "…" : text);
const plural = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;

/** Make an element: attributes as properties where they exist, children as text or nodes. */
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key in node && key !== "list") node[key] = value; else node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}
const badge = (s) => el("span", { className: `badge ${statuses[s]}` }, WORDS[statuses[s]]);
const severity = (s) => el("span", { className: `severity ${severities[s]}` }, capital(severities[s]));
const mark = (e) => (strings[evidence.mark[e]] ? [" ", el("span", { className: "mark" }, capital(strings[evidence.mark[e]]))] : []);
const cell = (label, ...children) => el("td", { "data-label": label }, ...children);

// What a finding is, by its number; what an observation is, by its own.
const byStatus = new Uint8Array(count), byLevel = new Uint8Array(count), observedStatus = new Uint8Array(observations.result.length);
for (let f = 0; f < count; f++) { byStatus[f] = evidence.status[findings.evidence[f]]; byLevel[f] = controls[findings.control[f]][5]; }
for (let o = 0; o < observedStatus.length; o++) observedStatus[o] = results.status[observations.result[o]];
const statusOf = (f) => byStatus[f];
const controlOf = (f) => controls[findings.control[f]];
const targetName = (f) => strings[targets[findings.target[f]][0]];
const controlRef = (c) => `${benchmarks[c[0]]}:${strings[c[1]]}`;
const keyOf = (f) => `${controlRef(controlOf(f))}:${targetName(f)}`;
const statusAt = (o) => observedStatus[o];
const textAt = (o, name) => strings[results[name][observations.result[o]]];

/** Return the findings in the order of a key below 2^53 / count, those of one key in their own. */
function order(key) {
  const packed = new Float64Array(count);
  for (let f = 0; f < count; f++) packed[f] = key(f) * count + f;
  packed.sort();
  const made = new Uint32Array(count);
  for (let n = 0; n < count; n++) made[n] = packed[n] % count;
  return made;
}
/** Return for each of some texts its place in their alphabetical order. */
function places(texts) {
  const made = new Uint32Array(texts.length);
  texts.map((text, i) => [text, i]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)).forEach(([, i], n) => { made[i] = n; });
  return made;
}
const alphabetical = places(targets.map((t) => strings[t[0]]));
// The default order: status, severity, control, target; worst first. Every sorting falls back on it.
const byRank = order((f) => ((byStatus[f] * 4 + byLevel[f]) * controls.length + findings.control[f]) * targets.length + alphabetical[findings.target[f]]);
const rank = new Uint32Array(count);
for (let n = 0; n < count; n++) rank[byRank[n]] = n;
