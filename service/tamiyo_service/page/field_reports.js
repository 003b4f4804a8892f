// What became of a run's seeds.

import { getFieldReports } from "./api.js";
import { h, show } from "./dom.js";
import { fixed, percent, signed, whole, words } from "./format.js";

const LIMIT = 25;
const COLUMNS = ["Seed", "Blueprint", "End", "Epochs", "Accuracy, from → to", "Improvement", "Owed to it", "Why"];

export function fieldReports(id) {
  const body = h("tbody", {});
  const count = h("span", { class: "muted" });
  const empty = h("p", { class: "empty" }, "No seed has come to its end yet.");
  const table = h("table", { class: "reports" }, h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))), body);
  const element = h("section", { class: "card", "aria-label": "Field reports" }, h("div", { class: "card-head" }, h("h2", {}, "Field reports"), count), h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Field reports" }, table), empty);
  let before = "";
  let ends = -1;

  /** Asks again; the run's decisions tell whether a seed may have ended. */
  async function refresh() {
    const { items, next_cursor: next } = await getFieldReports(id, { limit: LIMIT });
    const text = JSON.stringify(items.map((item) => [item.report_id, item.superseded]));
    if (text === before) return;
    before = text;
    ends = items.length;
    show(body, items.map(row));
    count.textContent = next === null ? "" : `the latest ${LIMIT}`;
    table.hidden = ends === 0;
    empty.hidden = ends > 0;
  }

  return { element, refresh };
}

function row(report) {
  const why = report.success ? report.ended_by?.reason || "kept by the trainer" : report.failure_reason;
  return h(
    "tr",
    { class: report.superseded ? "superseded" : "" },
    h("th", { scope: "row" }, report.seed_id),
    h("td", {}, report.blueprint_id),
    h("td", {}, h("span", { class: `chip ${report.success ? "action fossilize" : "action cull"}` }, words(report.final_stage))),
    h("td", { class: "number" }, `${whole(report.germinated_epoch)} – ${whole(report.completed_epoch)}`),
    h("td", { class: "number" }, `${fixed(report.accuracy_at_germination)} → ${percent(report.accuracy_at_completion)}`),
    h("td", { class: "number" }, signed(report.total_improvement)),
    h("td", { class: "number" }, signed(report.attributed_improvement)),
    h("td", { class: "because small" }, why || ""),
  );
}
