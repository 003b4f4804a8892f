// One run as a row of the fleet, changed in place.

import { h, setText, show } from "./dom.js";
import { ago, measured, whole } from "./format.js";
import { actionChip, labelChips, sparkline, statusChip, statusOf } from "./parts.js";
import { toRun } from "./router.js";

/** A row; `update` shows another state of the same run, touching only what changed. */
export function fleetRow(run) {
  const cells = {
    status: h("span", { class: "status-cell" }),
    labels: h("span", { class: "labels" }),
    epoch: h("span", { class: "number" }),
    bar: h("span", { class: "fill" }),
    curve: h("span", { class: "curve" }),
    latest: h("span", { class: "number latest" }),
    decision: h("span", { class: "decision" }),
    report: h("span", { class: "report" }),
  };
  const link = h(
    "a",
    { href: toRun(run.run_id), "data-go": true },
    h("span", { class: "cell name" }, h("span", { class: "run-id", title: run.run_id }, run.run_id), h("span", { class: "under-name" }, cells.status, cells.labels)),
    h("span", { class: "cell progress" }, cells.epoch, h("span", { class: "track", "aria-hidden": "true" }, cells.bar)),
    h("span", { class: "cell curve-cell" }, cells.curve),
    h("span", { class: "cell latest-cell" }, cells.latest),
    h("span", { class: "cell decision-cell" }, cells.decision),
    h("span", { class: "cell report-cell" }, cells.report),
  );
  const shown = {};

  /** Draws a part only if what it shows has changed. */
  function part(name, facts, draw) {
    const text = JSON.stringify(facts);
    if (shown[name] === text) return;
    shown[name] = text;
    draw();
  }

  function update(now_run, now) {
    const status = statusOf(now_run, now);
    part("status", [status, now_run.result], () => show(cells.status, statusChip(status, now_run.result)));
    part("labels", now_run.labels, () => show(cells.labels, labelChips(now_run.labels)));
    const done = now_run.last_epoch === null ? 0 : now_run.last_epoch + 1;
    setText(cells.epoch, `${whole(done)} / ${whole(now_run.max_epochs)}`);
    cells.bar.style.width = `${Math.min(100, (100 * done) / now_run.max_epochs)}%`;
    part("curve", now_run.sparkline, () => show(cells.curve, sparkline(now_run.sparkline, { name: `${now_run.measure.replace("_", " ")} so far` })));
    setText(cells.latest, measured(now_run.latest, now_run.measure));
    const last = now_run.last_decision;
    part("decision", last, () =>
      show(
        cells.decision,
        last
          ? [actionChip(last.action), h("span", { class: "reason", title: last.reason }, `epoch ${whole(last.epoch)} · ${last.reason}`)]
          : h("span", { class: "muted" }, "None yet"),
      ),
    );
    setText(cells.report, ago(now_run.last_report_at, now));
  }

  return { element: h("div", { class: "row", role: "listitem" }, link), update };
}
