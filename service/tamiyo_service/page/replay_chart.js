// A replay drawn on its run's curves.

import { h } from "./dom.js";
import { actionWords, fixed, percent, whole } from "./format.js";
import { runPanels } from "./run_chart.js";
import { valueAt } from "./scales.js";

const acted = (action) => action !== "WAIT";

/** The curves, the decisions of both below each other, and the run's seeds; what is open-loop is shaded. */
export function replayPanels(series, answer) {
  const structural = answer.structural_divergence;
  const shade = structural ? [structural.epoch + 0.5, series.last_epoch ?? structural.epoch + 1] : null;
  const differing = answer.items.filter((item) => !item.agrees).map((item) => item.epoch);
  const rows = [
    { label: "run", marks: answer.items.filter((item) => acted(item.logged_action)).map((item) => ({ epoch: item.epoch, action: item.logged_action })) },
    { label: "replay", marks: answer.items.filter((item) => acted(item.replayed_action)).map((item) => ({ epoch: item.epoch, action: item.replayed_action })) },
  ];
  const both = { kind: "decisions", title: "Decisions of the run and of the replay", height: 56, rows, differing };
  const [curve, ...others] = runPanels(series).filter(({ kind, range }) => kind !== "periods" && !range);
  return [curve, both, ...others.filter(({ title }) => !title.startsWith("Entropy") && !title.startsWith("Value"))].map((panel) => ({ ...panel, shade }));
}

/** Where either did something, for the curve and the keyboard; what only the replay does is hollow. */
export function replayMarks(answer) {
  return answer.items.map((item) => ({
    epoch: item.epoch,
    attempt: item.attempt,
    action: acted(item.logged_action) ? item.logged_action : item.replayed_action,
    hollow: !acted(item.logged_action),
    words: `epoch ${item.epoch}: the run ${actionWords(item.logged_action)}, the replay ${actionWords(item.replayed_action)}${item.open_loop ? ", open-loop" : ""}`,
  }));
}

/** What there is at an epoch, one line each. */
export function tellReplay(series, answer, epoch) {
  const told = [h("b", {}, `Epoch ${whole(epoch)}`)];
  const accuracy = valueAt(series.lines.val_accuracy, epoch);
  if (accuracy !== undefined) told.push(`accuracy ${percent(accuracy)}`);
  const loss = valueAt(series.lines.val_loss, epoch);
  if (loss !== undefined) told.push(`loss ${fixed(loss, 3)}`);
  const item = answer.items.find((one) => one.epoch === epoch);
  told.push(`run: ${item ? actionWords(item.logged_action) : "Wait"}`, `replay: ${item ? actionWords(item.replayed_action) : "Wait"}`);
  const structural = answer.structural_divergence;
  if (structural && epoch > structural.epoch) told.push("open-loop");
  return told;
}
