// One run: its curves with the decisions drawn on them, why each was made, and what an operator can do.

import { getRun, getSeries, query } from "./api.js";
import { createChart } from "./chart.js";
import { decisionList } from "./decisions.js";
import { h, show } from "./dom.js";
import { fieldReports } from "./field_reports.js";
import { follow, throttled } from "./live.js";
import { notesPart } from "./notes.js";
import { liveSign, trouble } from "./parts.js";
import { amend } from "./router.js";
import { legend, runMarks, runPanels, tellEpoch } from "./run_chart.js";
import { runHead } from "./run_head.js";
import { createWhy } from "./why.js";

const EVENTS = ["decision", "hold", "release", "override", "withdrawal", "policy", "complete", "rewind", "labels", "note", "outcome"];
const POINTS = 1200;

export function runPlace(place, [id], parameters) {
  const state = { run: null, series: null, zoom: null, chosen: null };
  const aborter = new AbortController();
  const live = liveSign();
  const head = runHead(id, live, (run) => stand(run));
  const chart = createChart({
    label: `Accuracy, loss and seeds of run ${id}`,
    onPick: (mark) => choose(mark),
    onZoom: (range) => zoom(range),
    tell: (epoch) => (state.series ? tellEpoch(state.series, epoch) : []),
  });
  const why = createWhy(id, { onClose: () => choose(null), onStep: step });
  const list = decisionList(id, (mark) => choose(mark));
  const reports = fieldReports(id);
  const notes = notesPart(id);
  const keys = h("div", {});
  const reset = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => zoom(null) } }, "Show all epochs");
  const remark = h("p", { class: "remark", hidden: true });
  const wrong = h("div", {});
  const grid = h(
    "div",
    { class: "run-grid" },
    h(
      "div",
      { class: "run-main" },
      h("section", { class: "card chart-card", "aria-label": "Curves" }, h("div", { class: "card-head" }, h("h2", {}, "Training"), reset), chart.element, keys, remark),
      reports.element,
      notes.element,
    ),
    h("div", { class: "run-side" }, list.element),
  );
  show(place, head.element, wrong, grid, why.element);
  let stop = null;

  async function readSeries() {
    const range = state.zoom ? { since_epoch: state.zoom[0], until_epoch: state.zoom[1] } : {};
    const asked = state.zoom;
    const series = await getSeries(id, { points: POINTS, ...range }, aborter.signal);
    if (asked !== state.zoom) return;
    state.series = series;
    drawSeries();
    show(keys, legend(series));
    if (state.run) head.update(state.run, series);
    const left = [series.earlier ? `epochs before ${series.first_epoch} are left out` : "", series.omitted ? `${series.omitted} earlier seeds and decisions are left out: zoom in to see them` : ""];
    remark.textContent = left.filter(Boolean).join("; ");
    remark.hidden = !remark.textContent;
  }

  function drawSeries() {
    const { series, zoom: chosen } = state;
    const first = chosen ? chosen[0] : series.first_epoch || 0;
    const last = chosen ? Math.min(chosen[1], state.run?.last_epoch ?? chosen[1]) : (series.last_epoch ?? first + 1);
    chart.setData({ panels: runPanels(series), marks: runMarks(series), first, last });
    reset.hidden = !chosen;
  }

  function followIt() {
    stop ??= follow(
      `/runs/${encodeURIComponent(id)}/events${query({ type: EVENTS })}`,
      EVENTS,
      askAll,
      (now) => live.set(now),
      askAll,
    );
  }

  /** There is no such run, yet: nothing is followed until somebody asks again and there is one. */
  function standAside() {
    stop?.();
    stop = null;
    grid.hidden = true;
    live.set("absent");
  }

  function stand(run) {
    grid.hidden = false;
    followIt();
    state.run = run;
    head.update(run, state.series);
  }

  async function tried(work) {
    try {
      await work();
      show(wrong);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.code === "run_not_found" && !state.run) standAside();
      // A service that is not there is back when the stream is.
      else followIt();
      show(wrong, trouble(error, askAll));
    }
  }

  // What is quickly told is told often; a long history seldom.
  const refreshing = throttled(
    () =>
      tried(async () => {
        stand(await getRun(id, aborter.signal));
        await Promise.all([list.refresh(), notes.refresh()]);
      }),
    500,
  );
  const reading = throttled(() => tried(() => Promise.all([readSeries(), reports.refresh()])), 700);

  function askAll() {
    refreshing.ask();
    reading.ask();
  }

  /** Opens why; null: it was closed. */
  function choose(mark) {
    state.chosen = mark;
    chart.select(mark);
    list.select(mark);
    const place_ = new URLSearchParams(mark ? query({ epoch: String(mark.epoch), attempt: mark.attempt === undefined ? "" : String(mark.attempt) }) : "");
    amend(place_);
    document.body.classList.toggle("asking", mark !== null);
    if (mark) why.open(mark);
  }

  function step(by) {
    const marks = state.series ? state.series.decisions : [];
    if (!marks.length || !state.chosen) return;
    const { epoch } = state.chosen;
    const next = by > 0 ? marks.find((mark) => mark.epoch > epoch) : marks.findLast((mark) => mark.epoch < epoch);
    if (next) choose(next);
  }

  function zoom(range) {
    state.zoom = range;
    if (!state.series) return;
    // At once with what is known, then with what there is.
    drawSeries();
    tried(readSeries);
  }

  const ticking = window.setInterval(() => state.run && head.update(state.run, state.series), 5000);
  askAll();
  if (parameters.has("epoch")) {
    const attempt = parameters.get("attempt");
    choose({ epoch: Number(parameters.get("epoch")), ...(attempt === null ? {} : { attempt: Number(attempt) }) });
  }
  return () => {
    stop?.();
    refreshing.stop();
    reading.stop();
    aborter.abort();
    chart.close();
    window.clearInterval(ticking);
    document.body.classList.remove("asking");
  };
}
