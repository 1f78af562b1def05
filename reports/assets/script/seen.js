// The inventory of what was seen, one by one.
const things = data.things.rows, KINDS = { host: "Host", engine: "Engine", program: "Program", container: "Container", image: "Image", cluster: "Cluster", node: "Node", namespace: "Namespace" };
const kindOf = (k) => KINDS[data.things.kinds[k]] || capital(data.things.kinds[k]);
let looked = null;
/** Fill the table of the inventory as the address says. */
function look() {
  const asking = JSON.stringify([state.see, state.kind, state.leaf]);
  if (looked === asking) return;
  looked = asking;
  const holds = wordsOf(state.see).map(holding), kept = [], kind = data.things.kinds.indexOf(state.kind);
  for (let i = 0; i < things.length; i += 4) {
    if (kind >= 0 && things[i] !== kind) continue;
    if (holds.every((h) => h[targets[things[i + 1]][0]] || h[things[i + 2]] || h[things[i + 3]])) kept.push(i);
  }
  const pages = Math.max(1, Math.ceil(kept.length / PAGE));
  state.leaf = Math.min(state.leaf, pages);
  $("seen").tBodies[0].replaceChildren(...kept.slice((state.leaf - 1) * PAGE, state.leaf * PAGE).map((i) => el("tr", {},
    cell("Kind", kindOf(things[i])), el("th", { scope: "row", "data-label": "Name" }, short(strings[things[i + 2]], 300)),
    cell("About", short(strings[things[i + 3]], 400) || el("span", { className: "muted" }, "nothing more")),
    cell("Target", el("a", { href: only({ target: strings[targets[things[i + 1]][0]] }) }, short(strings[targets[things[i + 1]][0]], 120))))));
  $("counted").textContent = kept.length * 4 === things.length ? `${number(kept.length)} seen` : `${number(kept.length)} of ${number(things.length / 4)} seen`;
  pager($("things").querySelector("nav"), state.leaf, pages, (to) => { go({ leaf: to }); $("counted").scrollIntoView({ block: "start" }); });
}
