// Replay: what another policy, or other settings, would have done about a run's reports.

import { askReplay, getPolicies, getRun, getSeries } from "./api.js";
import { createChart } from "./chart.js";
import { announce, h, show } from "./dom.js";
import { trouble } from "./parts.js";
import { replayForm, requestOf } from "./replay_form.js";
import { replayList } from "./replay_list.js";
import { replayMarks, replayPanels, tellReplay } from "./replay_chart.js";
import { outcomeOf } from "./replay_outcome.js";
import { amend, toRun } from "./router.js";

const POINTS = 1200;

export function replayPlace(place, [id], parameters) {
  const aborter = new AbortController();
  const state = { series: null, replay: null, zoom: null };
  const heading = h("h1", { class: "run-id" }, id);
  const formPart = h("div", {});
  const wrong = h("div", {});
  const outcome = h("div", { "aria-live": "polite" });
  const list = replayList(id, { onPick: (epoch) => chart.select(epoch === null ? null : { epoch }), request: () => state.request, signal: aborter.signal });
  const chart = createChart({
    label: `Curves of run ${id} with its decisions and the replayed ones`,
    onPick: (mark) => list.open(mark.epoch),
    onZoom: (range) => zoom(range),
    tell: (epoch) => (state.replay ? tellReplay(state.series, state.replay, epoch) : []),
  });
  const reset = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => zoom(null) } }, "Show all epochs");
  const results = h(
    "div",
    { class: "replay-results", hidden: true },
    outcome,
    h("section", { class: "card chart-card", "aria-label": "Curves" }, h("div", { class: "card-head" }, h("h2", {}, "On the run's curves"), reset), chart.element, keys()),
    list.element,
  );
  show(
    place,
    h(
      "nav",
      { class: "crumbs", "aria-label": "Where you are" },
      h("a", { href: "/", "data-go": true }, "Fleet"),
      h("span", { "aria-hidden": "true" }, " / "),
      h("a", { href: toRun(id), "data-go": true }, id),
      h("span", { "aria-hidden": "true" }, " / "),
    ),
    h("div", { class: "heading" }, h("div", { class: "title" }, heading, h("p", { class: "muted" }, "Its reports, decided again: what would another policy, or other settings, have done?"))),
    wrong,
    formPart,
    results,
  );

  async function begin() {
    try {
      const [run, policies] = await Promise.all([getRun(id, aborter.signal), getPolicies()]);
      const form = replayForm({ run, policies: policies.items, parameters, onReplay: replay });
      show(formPart, form.element);
      if ([...parameters.keys()].length) await replay(form.chosen());
    } catch (error) {
      if (error.name !== "AbortError") show(wrong, trouble(error, begin));
    }
  }

  /** Replays with what was chosen; the address keeps it. */
  async function replay(chosen) {
    amend(chosen);
    state.request = requestOf(chosen);
    results.classList.add("working");
    try {
      const [series, answer] = await Promise.all([
        getSeries(id, { points: POINTS }, aborter.signal),
        askReplay(id, { ...state.request, items: "acting" }, aborter.signal),
      ]);
      Object.assign(state, { series, replay: answer, zoom: null });
      show(wrong);
      results.hidden = false;
      show(outcome, outcomeOf(answer, (epoch) => list.open(epoch)));
      list.show(answer);
      draw();
      announce(answer.first_divergence ? `They differ first at epoch ${answer.first_divergence.epoch}.` : "They differ nowhere.");
    } catch (error) {
      if (error.name !== "AbortError") show(wrong, trouble(error));
    } finally {
      results.classList.remove("working");
    }
  }

  function draw() {
    const { series, replay: answer, zoom: range } = state;
    const [first, last] = range || [series.first_epoch || 0, series.last_epoch ?? 1];
    chart.setData({ panels: replayPanels(series, answer), marks: replayMarks(answer), first, last });
    reset.hidden = !range;
  }

  async function zoom(range) {
    state.zoom = range;
    if (!state.replay) return;
    draw();
    const window_ = range ? { since_epoch: range[0], until_epoch: range[1] } : {};
    try {
      const series = await getSeries(id, { points: POINTS, ...window_ }, aborter.signal);
      if (state.zoom !== range) return;
      state.series = series;
      draw();
    } catch (error) {
      if (error.name !== "AbortError") show(wrong, trouble(error));
    }
  }

  begin();
  return () => {
    aborter.abort();
    chart.close();
  };
}

function keys() {
  const key = (name, words) => h("span", { class: "key" }, h("i", { class: `swatch ${name}`, "aria-hidden": "true" }), words);
  return h(
    "div",
    { class: "legend" },
    ["germinate", "fossilize", "cull"].map((kind) => h("span", { class: `key mark ${kind}` }, `${{ germinate: "▲", fossilize: "◆", cull: "✕" }[kind]} ${kind}`)),
    key("differ", "the two differ"),
    key("open-loop", "open-loop: the trainer would have had other seeds"),
  );
}
