// What a replay came to, at a glance.

import { h } from "./dom.js";
import { actionWords, whole } from "./format.js";
import { actionChip } from "./parts.js";

/** The card above the chart. `open` shows an epoch. */
export function outcomeOf(answer, open) {
  const { counts, first_divergence: first, structural_divergence: structural } = answer;
  return h(
    "section",
    { class: "card", "aria-label": "Outcome" },
    h("div", { class: "card-head" }, h("h2", {}, verdict(answer)), h("span", { class: "muted" }, `${answer.policy.name} ${answer.policy.version}`)),
    h(
      "dl",
      { class: "figures" },
      figure("Agreement", exactShare(answer.agreement), `${whole(counts.agreeing)} of ${whole(counts.reports)} decisions`),
      figure("Where either acted", exactShare(answer.acting_agreement), `${whole(counts.acting_agreeing)} of ${whole(counts.acting)}`),
      figure("First difference", first ? jump(first, open) : "none", first ? about(first.slot) : ""),
      figure("Open-loop", whole(counts.open_loop), structural ? `after epoch ${whole(structural.epoch)}` : "decisions"),
    ),
    first ? sides(first) : null,
    answer.failure ? h("p", { class: "remark" }, answer.failure) : null,
    structural && counts.open_loop ? h("p", { class: "remark open-loop-note" }, honest(structural)) : null,
    changesOf(answer.changes),
  );
}

function verdict({ first_divergence: first, structural_divergence: structural }) {
  if (!first) return "It would have done the same";
  return structural ? "It would have done otherwise" : "It differs, but the seeds would have been the same";
}

const honest = (structural) =>
  `From epoch ${whole(structural.epoch)} on the trainer would have had other seeds. It obeyed the run's decisions, so what follows is open-loop: each decision is made in a situation that the run's own policy led to.`;

/** A share that is only told as all where it is all. */
const exactShare = (value) => (value === null ? "–" : value === 1 ? "100 %" : `${(Math.floor(value * 1000) / 10).toFixed(1)} %`);

const figure = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null));

const jump = (divergence, open) =>
  h("button", { type: "button", class: "link", on: { click: () => open(divergence.epoch) } }, `Epoch ${whole(divergence.epoch)}`);

export const about = (slot) => slot.seed_id || "germination";

/** The two decisions at the first difference. */
function sides({ slot }) {
  const side = (name, choice) =>
    h("div", { class: "side" }, h("h3", {}, name, " ", actionChip(choice.action)), h("p", { class: "because small" }, choice.reason || `${actionWords(choice.action)} beside another command.`));
  return h("div", { class: "sides" }, side("The run", slot.logged), side("The replay", slot.replayed));
}

function changesOf(changes) {
  if (!changes.length) return h("p", { class: "muted" }, "With the run's own policy and settings.");
  const words = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return h(
    "details",
    { class: "changes" },
    h("summary", {}, `${changes.length} ${changes.length === 1 ? "setting differs" : "settings differ"} from the run's`),
    h(
      "div",
      { class: "scroller", tabindex: "0", role: "region", "aria-label": "Settings that differ" },
      h(
        "table",
        { class: "differences" },
        h("thead", {}, h("tr", {}, ["Setting", "Run", "Replay"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, changes.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, words(one.logged)), h("td", {}, words(one.replayed))))),
      ),
    ),
  );
}
