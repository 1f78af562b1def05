// One finding in full.
function copier(label, text, shownAs) {
  const button = el("button", { type: "button", className: "copy" }, label);
  button.addEventListener("click", async () => {
    let said = "Copied";
    try { await navigator.clipboard.writeText(text); } catch {
      const area = el("textarea", { value: text, className: "hidden" });
      button.after(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      button.focus();
      if (!done && shownAs) getSelection().selectAllChildren(shownAs);
      if (!done) said = shownAs ? "Selected: copy it with the keyboard" : "Can't copy here";
    }
    button.textContent = said;
    setTimeout(() => { button.textContent = label; }, 2500);
  });
  return button;
}
function seenOf(e, target) {
  const list = el("ul", { className: "observations" });
  const end = evidence.start[e + 1];
  let at = evidence.start[e];
  const more = el("button", { type: "button" });
  function fill() {
    const until = Math.min(end, at + OBSERVATIONS);
    for (; at < until; at++) {
      const facts = el("dl", { className: "seen" }), subject = strings[observations.subject[at]];
      for (const [label, name] of [["Expected", "expected"], ["Found", "actual"], ["Source", "source"]]) {
        const value = textAt(at, name);
        if (value || label === "Found") facts.append(el("div", {}, el("dt", {}, label), el("dd", {}, value || "nothing")));
      }
      const about = el("a", { className: "about-it", href: only({ subject, target }), "aria-label": `All findings about ${short(subject, 200)} here` }, "all about it");
      list.append(el("li", {}, el("span", { className: "subject" }, subject), " ", badge(statusAt(at)), " ", about, facts));
    }
    more.textContent = `Show more (${number(end - at)} left)`;
    more.hidden = at === end;
  }
  more.addEventListener("click", fill);
  fill();
  return [list, more];
}
let opened = "", indexed = null;
/** Show the finding of a key, or none for an empty one. */
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
    const c = controlOf(f), t = targets[findings.target[f]], e = findings.evidence[f], fix = el("p", { className: "fix" }, strings[c[7]]);
    const fact = (label, ...value) => el("div", {}, el("dt", {}, label), el("dd", {}, ...value));
    const at = shown.indexOf(f);
    const step = (label, to) => {
      const button = el("button", { type: "button", disabled: to === undefined }, label);
      if (to !== undefined) button.addEventListener("click", () => go({ finding: keyOf(to) }));
      return button;
    };
    const children = [close, el("p", { className: "badges" }, badge(evidence.status[e]), " ", severity(c[5]), ...mark(e)),
      el("h2", { id: "detail-title" }, `${strings[c[1]]} ${strings[c[2]]}`),
      el("dl", { className: "facts" }, fact("Target", el("a", { href: only({ target: strings[t[0]] }) }, strings[t[0]]), strings[t[2]] && strings[t[2]] !== strings[t[0]] ? ` ${strings[t[2]]}` : null),
        fact("Benchmark", benchmarks[c[0]]),
        fact("Level", `${c[3]}, ${strings[c[4]]} assessment`), fact("Collected (UTC)", strings[t[4]] || "not collected"),
        ...(f in data.since ? [fact("Failing since", strings[data.since[f]])] : []),
        fact("Evidence SHA-256", el("span", { className: "mono digest" }, strings[t[3]] || "none")))];
    if (strings[evidence.reason[e]]) children.push(el("p", { className: "reason" }, strings[evidence.reason[e]]));
    if (strings[evidence.decided[e]]) children.push(el("p", { className: "decided" }, strings[evidence.decided[e]]));
    if (evidence.start[e] < evidence.start[e + 1]) children.push(el("h3", {}, "Evidence"), ...seenOf(e, strings[t[0]]));
    if (strings[c[7]]) children.push(el("h3", {}, "How to put it right"), fix, copier("Copy", strings[c[7]], fix));
    if (strings[c[6]]) children.push(el("h3", {}, "Why"), el("p", {}, strings[c[6]]));
    if (strings[c[9]]) children.push(el("h3", {}, "Policy inputs"), el("p", {}, strings[c[9]]));
    children.push(el("p", { className: "steps" }, step("Previous", at > 0 ? shown[at - 1] : undefined), step("Next", at >= 0 ? shown[at + 1] : undefined),
      copier("Copy link", location.href.split("#")[0] + only({ finding: key })), el("a", { href: only({ control: controlRef(c) }) }, "This control on all targets")));
    dialog.replaceChildren(...children);
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus();
}
$("detail").addEventListener("close", () => {
  if (!state.finding) return;
  const key = opened;
  opened = "";
  go({ finding: "" });
  const link = Array.from($("table").querySelectorAll("a")).find((a) => a.dataset.key === key);
  if (link) link.focus();
});
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
