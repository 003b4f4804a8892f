// What the chart of one run shows: which panels, and what is told of an epoch.

import { stageColour } from "./chart_draw.js";
import { h } from "./dom.js";
import { actionWords, fixed, percent, whole, words } from "./format.js";
import { valueAt } from "./scales.js";

const LANES = 12;
const NONE = { epochs: [], values: [] };

/** The panels for a run's series. */
export function runPanels(series) {
  const { lines } = series;
  const panels = [];
  if (lines.val_accuracy || !lines.val_loss) panels.push(accuracyPanel(lines));
  if (lines.val_loss || lines.train_loss) panels.push(lossPanel(series));
  panels.push(periodsPanel(series));
  const lanes = lanesOf(series.seeds);
  if (lanes.length) panels.push({ kind: "seeds", title: "Seeds by slot; the line is alpha", height: 30 * lanes.length, lanes });
  if (lines.entropy) {
    panels.push(small("Entropy of the policy, nats", [{ line: lines.entropy, colour: "accent" }]));
    panels.push(small("Value estimate", [{ line: lines.value || NONE, colour: "accent" }]));
  }
  if (lines.confidence) panels.push({ ...small("Confidence of the decision", [{ line: lines.confidence, colour: "second", width: 1.2 }]), range: [0, 1] });
  return panels;
}

function accuracyPanel(lines) {
  return {
    kind: "lines",
    title: "Accuracy, %",
    height: 230,
    lines: [
      { line: lines.val_accuracy || NONE, colour: "accent", width: 2 },
      ...(lines.train_accuracy ? [{ line: lines.train_accuracy, colour: "muted", width: 1.1, dash: [4, 3] }] : []),
    ],
  };
}

function lossPanel({ lines, divergences }) {
  return {
    kind: "lines",
    title: "Loss",
    height: lines.val_accuracy ? 110 : 230,
    alarms: divergences,
    lines: [
      { line: lines.val_loss || NONE, colour: "accent", width: 1.8 },
      ...(lines.train_loss ? [{ line: lines.train_loss, colour: "muted", width: 1.1, dash: [4, 3] }] : []),
    ],
  };
}

const small = (title, lines) => ({ kind: "lines", title, height: 62, lines });

function periodsPanel(series) {
  const rows = [
    { label: "plateau", colour: "plateau", periods: series.plateaus },
    { label: "embargo", colour: "embargo", periods: series.embargoes },
    ...(series.holds.length ? [{ label: "hold", colour: "hold", periods: series.holds }] : []),
  ];
  return { kind: "periods", title: "", height: 15 * rows.length, rows };
}

function lanesOf(seeds) {
  const bySlot = new Map();
  for (const band of seeds) {
    if (!bySlot.has(band.slot_id)) bySlot.set(band.slot_id, []);
    bySlot.get(band.slot_id).push(band);
  }
  return [...bySlot].sort(([one], [other]) => one.localeCompare(other)).slice(0, LANES).map(([slot, bands]) => ({ slot, bands }));
}

/** Decisions as the chart marks them, with the words for those who listen. */
export function runMarks(series) {
  return series.decisions.map((mark) => ({ ...mark, words: `${actionWords(mark.action)} at epoch ${mark.epoch}: ${mark.reason}` }));
}

/** What there is at an epoch, one line each. */
export function tellEpoch(series, epoch) {
  const { lines } = series;
  const told = [h("b", {}, `Epoch ${whole(epoch)}`)];
  const accuracy = valueAt(lines.val_accuracy, epoch);
  if (accuracy !== undefined) told.push(`accuracy ${percent(accuracy)}`);
  const loss = valueAt(lines.val_loss, epoch);
  if (loss !== undefined) told.push(`loss ${fixed(loss, 3)}`);
  if (series.divergences.includes(epoch)) told.push("a loss is not finite");
  for (const band of series.seeds) {
    const stage = band.stages.find(({ first_epoch: first, last_epoch: last }) => first <= epoch && epoch <= last);
    if (stage) told.push(seedLine(band, stage.stage, valueAt(band.alpha, epoch)));
  }
  for (const mark of series.decisions) {
    if (mark.epoch === epoch) told.push(h("span", { class: "told" }, `${actionWords(mark.action)}: ${mark.reason}`));
  }
  return told;
}

function seedLine(band, stage, alpha) {
  const dot = h("i", { class: `stage-dot ${stageColour(stage)}` });
  return h("span", {}, dot, `${band.blueprint_id} ${words(stage)}, alpha ${fixed(alpha ?? 0, 2)}`);
}

/** What the colours mean, below the chart. */
export function legend(series) {
  const stages = [...new Set(series.seeds.flatMap((band) => band.stages.map(({ stage }) => stage)))];
  const key = (name, words_) => h("span", { class: "key" }, h("i", { class: `swatch ${name}`, "aria-hidden": "true" }), words_);
  const marks = [["germinate", "▲ germinate"], ["fossilize", "◆ fossilize"], ["cull", "✕ cull"]];
  return h(
    "div",
    { class: "legend" },
    key("line-validation", "validation"),
    series.lines.train_loss || series.lines.train_accuracy ? key("line-training", "training") : null,
    marks.map(([kind, text]) => h("span", { class: `key mark ${kind}` }, text)),
    stages.map((stage) => key(stageColour(stage), words(stage))),
  );
}
