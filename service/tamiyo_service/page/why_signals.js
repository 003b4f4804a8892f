// What a decision saw: signals, events, features, and the whole record for those who want it.

import { h } from "./dom.js";
import { fixed, percent, share, signed, whole, words } from "./format.js";

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
const FOLLOWING = new Set(["EPOCH_COMPLETED", "COMMAND_ISSUED"]);

/** What the tracker made of the report. */
export function signalsOf(record) {
  const { metrics, seeds } = record.signals;
  return h(
    "section",
    { class: "why-section" },
    h("h3", {}, "What it saw"),
    h(
      "dl",
      { class: "facts" },
      fact("Validation accuracy", percent(metrics.val_accuracy)),
      fact("Change", signed(metrics.accuracy_delta)),
      fact("Smoothed change", signed(metrics.smoothed_accuracy_delta)),
      fact("Plateau", `${whole(metrics.plateau_epochs)} reports`),
      fact("Best accuracy", percent(metrics.best_val_accuracy)),
      fact("Validation loss", fixed(metrics.val_loss, 4)),
      fact("Free slots", whole(record.signals.available_slots)),
    ),
    seeds.map(seedOf),
    eventsOf(record.events),
  );
}

function seedOf(seed) {
  return h(
    "div",
    { class: "seed-facts" },
    h("h4", {}, `${seed.seed_id} · ${seed.blueprint_id} · ${words(seed.stage)}`),
    h(
      "dl",
      { class: "facts" },
      fact("Epochs in stage", whole(seed.epochs_in_stage)),
      fact("Alpha", fixed(seed.alpha, 2)),
      fact("Improvement in stage", signed(seed.improvement_since_stage_start)),
      fact("Improvement, total", signed(seed.total_improvement)),
      fact("Owed to the seed", signed(seed.attributed_improvement)),
      typeof seed.gradient_health === "number" ? fact("Gradient health", share(seed.gradient_health)) : null,
    ),
  );
}

function eventsOf(events) {
  const told = events.filter((event) => !FOLLOWING.has(event.type));
  if (!told.length) return null;
  return h("ul", { class: "events" }, told.map((event) => h("li", {}, h("b", {}, words(event.type)), ` ${event.message}`)));
}

/** The features a network reads, and the record as the service sent it. */
export function raw(record) {
  const features = Object.entries(record.features);
  return h(
    "div",
    { class: "raw" },
    h(
      "details",
      {},
      h("summary", {}, `The ${features.length} features`),
      h("table", { class: "features" }, h("tbody", {}, features.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, fixed(value, 4)))))),
    ),
    h("details", {}, h("summary", {}, "The whole record"), h("pre", { tabindex: "0" }, JSON.stringify(record, null, 2))),
  );
}
