// What is filtered as CSV (RFC 4180, UTF-8 with a mark so that spreadsheets know).

/** Return a cell: quoted, and never a formula, whatever a target called its things. */
function csvCell(value) {
  const text = String(value);
  return `"${(/^[\s'"]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;
}
const csvRow = (cells) => cells.map(csvCell).join(",") + "\r\n";

/** Yield the lines of the shown findings, one an observation. */
function* csvFindings() {
  yield csvRow(["Status", "Severity", "Benchmark", "Control", "Title", "Level", "Assessment", "Target", "Address", "Reason", "Decided", "Failing since",
    "Subject", "Subject's status", "Expected", "Found", "Source", "Remediation", "Evidence SHA-256"]);
  const asked = state.subject ? subjectsAsked() : null;
  for (const f of shown) {
    const c = controlOf(f), t = targets[findings.target[f]], e = findings.evidence[f];
    const head = [statuses[evidence.status[e]], severities[c[5]], benchmarks[c[0]], strings[c[1]], strings[c[2]], c[3], strings[c[4]], strings[t[0]], strings[t[2]],
      strings[evidence.reason[e]], strings[evidence.decided[e]], f in data.since ? strings[data.since[f]] : ""];
    const tail = [strings[c[7]], strings[t[3]]];
    if (evidence.start[e] === evidence.start[e + 1]) yield csvRow([...head, "", "", "", "", "", ...tail]);
    for (let o = evidence.start[e]; o < evidence.start[e + 1]; o++) {
      if (asked && !asked[observations.subject[o]]) continue;
      yield csvRow([...head, strings[observations.subject[o]], statuses[statusAt(o)], textAt(o, "expected"), textAt(o, "actual"), textAt(o, "source"), ...tail]);
    }
  }
}
/** Yield the lines of the shown groups. */
function* csvGroups() {
  const kind = GROUPS[state.by], found = grouped();
  yield csvRow([kind.name, "", "Worst failure", ...statuses.map((s) => WORDS[s]), kind.reach]);
  for (const g of found.ids) {
    yield csvRow([kind.title(g), kind.note(g), found.worst[g] < NONE ? severities[found.worst[g]] : "", ...statuses.map((_, n) => found.counts[g * 5 + n]), found.reach[g]]);
  }
}
function save() {
  const parts = ["\ufeff"];
  for (const line of state.by ? csvGroups() : csvFindings()) parts.push(line);
  const url = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  const link = el("a", { href: url, download: `${state.by ? "by-" + state.by : "findings"}-${data.run.replace(/[^A-Za-z0-9._-]/g, "_")}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
