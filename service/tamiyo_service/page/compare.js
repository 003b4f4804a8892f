// Two runs, one over the other.

import { getRun, getSeries, query } from "./api.js";
import { createChart } from "./chart.js";
import { h, show } from "./dom.js";
import { actionWords, fixed, percent, whole } from "./format.js";
import { follow, throttled } from "./live.js";
import { actionChip, labelChips, liveSign, statusChip, trouble } from "./parts.js";
import { go, toRun } from "./router.js";
import { valueAt } from "./scales.js";

const COLOURS = ["accent", "second"];
const NONE = { epochs: [], values: [] };
const PANELS = [
  { name: "val_accuracy", title: "Validation accuracy, %", height: 260 },
  { name: "val_loss", title: "Validation loss", height: 150 },
];

export function comparePlace(place, ids) {
  const aborter = new AbortController();
  const live = liveSign();
  let series = [];
  let zoom = null;
  const chart = createChart({
    label: `Curves of the runs ${ids.join(" and ")}`,
    onPick: (mark) => mark.side !== undefined && go(toRun(ids[mark.side], query({ epoch: String(mark.epoch), attempt: String(mark.attempt) }))),
    onZoom: (range) => {
      zoom = range;
      if (series.length) draw();
      refresh();
    },
    tell: (epoch) => tell(epoch),
  });
  const heads = h("div", { class: "pair" });
  const differences = h("div", {});
  const timeline = h("div", { class: "pair lists" });
  const wrong = h("div", {});
  const reset = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => { zoom = null; draw(); refresh(); } } }, "Show all epochs");
  show(
    place,
    h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: "/", "data-go": true }, "Fleet"), h("span", { "aria-hidden": "true" }, " / ")),
    h("div", { class: "heading" }, h("h1", {}, "Two runs"), live.sign),
    wrong,
    heads,
    h("section", { class: "card chart-card", "aria-label": "Curves" }, h("div", { class: "card-head" }, h("h2", {}, "Training"), reset), chart.element),
    h("section", { class: "card", "aria-label": "Configuration" }, h("div", { class: "card-head" }, h("h2", {}, "What they were told")), differences),
    h("section", { class: "card", "aria-label": "Decisions" }, h("div", { class: "card-head" }, h("h2", {}, "What they decided")), timeline),
  );

  function tell(epoch) {
    return [
      h("b", {}, `Epoch ${whole(epoch)}`),
      ...series.map((one, side) => {
        const accuracy = valueAt(one.lines.val_accuracy, epoch);
        const loss = valueAt(one.lines.val_loss, epoch);
        const text = `${one.run_id}: ${accuracy === undefined ? "" : percent(accuracy)} ${loss === undefined ? "" : `loss ${fixed(loss, 3)}`}`;
        return h("span", {}, h("i", { class: `stage-dot ${COLOURS[side]}` }), text);
      }),
    ];
  }

  async function refresh() {
    const range = zoom ? { since_epoch: zoom[0], until_epoch: zoom[1] } : {};
    try {
      const runs = await Promise.all(ids.map((id) => getRun(id, aborter.signal)));
      series = await Promise.all(ids.map((id) => getSeries(id, range, aborter.signal)));
      show(wrong);
      show(heads, runs.map((run, side) => head(run, side)));
      show(differences, differencesOf(runs));
      show(timeline, series.map((one, side) => decisionsOf(one, side)));
      draw();
    } catch (error) {
      if (error.name !== "AbortError") show(wrong, trouble(error, () => refreshing.ask()));
    }
  }

  function draw() {
    const panels = PANELS.filter(({ name }) => series.some((one) => one.lines[name])).map(({ name, title, height }) => ({
      kind: "lines",
      title,
      height,
      lines: series.map((one, side) => ({ line: one.lines[name] || NONE, colour: COLOURS[side], width: 1.8 })),
    }));
    const lasts = series.map((one) => one.last_epoch ?? 0);
    const marks = series
      .flatMap((one, side) => one.decisions.map((mark) => ({ ...mark, side, words: `${one.run_id}: ${actionWords(mark.action)} at epoch ${mark.epoch}` })))
      .sort((one, other) => one.epoch - other.epoch);
    chart.setData({ panels, marks, first: zoom ? zoom[0] : 0, last: zoom ? zoom[1] : Math.max(...lasts) });
    reset.hidden = zoom === null;
  }

  const refreshing = throttled(refresh, 1500);
  const stop = follow(
    `/events${query({ type: ["decision", "hold", "release", "complete"] })}`,
    ["decision", "hold", "release", "complete"],
    (event) => ids.includes(event.run_id) && refreshing.ask(),
    (state) => live.set(state),
    () => refreshing.ask(),
  );
  refreshing.ask();
  return () => {
    stop();
    refreshing.stop();
    aborter.abort();
    chart.close();
  };
}

function head(run, side) {
  return h(
    "div",
    { class: "card pair-head" },
    h("a", { class: "run-id", href: toRun(run.run_id), "data-go": true }, h("i", { class: `stage-dot ${COLOURS[side]}`, "aria-hidden": "true" }), run.run_id),
    h("div", { class: "under-title" }, statusChip(run.status, run.result), h("span", { class: "muted" }, `${run.policy.name} ${run.policy.version}`)),
    h("div", { class: "labels" }, labelChips(run.labels)),
  );
}

/** Every setting in which the two differ. */
function differencesOf(runs) {
  const [one, other] = runs.map((run) => flat(run.config));
  const names = [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((name) => !name.startsWith("labels.") && one[name] !== other[name]);
  if (!names.length) return h("p", { class: "empty" }, "They were told the same.");
  const table = h(
    "table",
    { class: "differences" },
    h("thead", {}, h("tr", {}, ["Setting", ...runs.map((run) => run.run_id)].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, one[name] ?? "–"), h("td", {}, other[name] ?? "–")))),
  );
  return h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Settings that differ" }, table);
}

function flat(value, name = "") {
  if (value === null || typeof value !== "object") return { [name]: String(value) };
  if (Array.isArray(value)) return { [name]: value.map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one))).join(", ") };
  return Object.assign({}, ...Object.entries(value).map(([key, inner]) => flat(inner, name ? `${name}.${key}` : key)));
}

function decisionsOf(series, side) {
  const rows = series.decisions.slice(-60);
  return h(
    "ol",
    { class: "decision-rows", "aria-label": `Decisions of ${series.run_id}` },
    rows.length ? null : h("li", { class: "empty" }, "So far it has only waited."),
    rows.map((mark) =>
      h("li", {}, h("a", { class: "decision-row", href: toRun(series.run_id, query({ epoch: String(mark.epoch), attempt: String(mark.attempt) })), "data-go": true }, h("i", { class: `stage-dot ${COLOURS[side]}`, "aria-hidden": "true" }), h("span", { class: "number epoch" }, whole(mark.epoch)), actionChip(mark.action), h("span", { class: "reason" }, mark.reason))),
    ),
  );
}
