// The decisions of a run and of its replay, side by side; a row opens to how both were made.

import { askReplay, getDecision } from "./api.js";
import { h, show } from "./dom.js";
import { whole } from "./format.js";
import { actionChip, trouble } from "./parts.js";
import { about } from "./replay_outcome.js";
import { slotOf } from "./why.js";

const PAGE = 100;

export function replayList(id, { onPick, request, signal }) {
  const rows = h("ol", { class: "replay-rows" });
  const only = h("input", { type: "checkbox", id: "only-differing", on: { change: () => list() } });
  const more = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => add() } }, "More decisions");
  const element = h(
    "section",
    { class: "card replays", "aria-label": "Side by side" },
    h("div", { class: "card-head" }, h("h2", {}, "Side by side"), h("label", { class: "switch", for: "only-differing" }, only, h("span", {}, "only where they differ"))),
    h("div", { class: "replay-columns", "aria-hidden": "true" }, ["Epoch", "The run", "The replay"].map((name) => h("span", {}, name))),
    rows,
    more,
  );
  let items = [];
  let structural = null;
  let shown = 0;
  let opened = null;

  const wanted = () => (only.checked ? items.filter((item) => !item.agrees) : items);

  function list() {
    shown = 0;
    opened = null;
    show(rows);
    add();
    if (!wanted().length) show(rows, h("li", { class: "empty" }, only.checked || items.length ? "They differ nowhere." : "Both have only waited."));
  }

  function add() {
    const next = wanted().slice(shown, shown + PAGE);
    rows.append(...next.map(row));
    shown += next.length;
    more.hidden = shown >= wanted().length;
  }

  function row(item) {
    const acting = item.slots.filter((slot) => !slot.agrees || slot.replayed.action !== "WAIT");
    const slots = acting.length ? acting : item.slots.slice(0, 1);
    const parts = structural !== null && item.epoch === structural.epoch && item.attempt === structural.attempt;
    const button = h(
      "button",
      { type: "button", class: "replay-row", "aria-expanded": "false", on: { click: () => toggle(place, item) } },
      h("span", { class: "number epoch" }, whole(item.epoch), item.attempt ? h("small", {}, `attempt ${item.attempt}`) : null),
      h("span", { class: "pairs" }, slots.map(pair)),
      h("span", { class: "marks" }, badge(item.agrees), parts ? h("span", { class: "badge parts" }, "parts ways") : null, item.open_loop ? h("span", { class: "badge loop" }, "open-loop") : null, item.held ? h("span", { class: "badge" }, "held") : null, item.overridden ? h("span", { class: "badge" }, "ordered") : null),
    );
    const place = h("li", { class: item.open_loop ? "looped" : "", "data-epoch": item.epoch }, button);
    return place;
  }

  async function toggle(place, item) {
    const button = place.querySelector(".replay-row");
    if (button.getAttribute("aria-expanded") === "true") {
      close();
      onPick(null);
      return;
    }
    close();
    opened = place;
    button.setAttribute("aria-expanded", "true");
    onPick(item.epoch);
    const body = h("div", { class: "replay-why" }, h("p", { class: "muted" }, "Reading …"));
    place.append(body);
    try {
      const one = { ...request(), since_epoch: item.epoch, until_epoch: item.epoch, attempt: latest(), items: "all", explain: true };
      const [record, answer] = await Promise.all([
        getDecision(id, item.epoch, item.attempt, signal),
        askReplay(id, one, signal),
      ]);
      const again = answer.items[0];
      show(body, side("The run", `${record.policy.name} ${record.policy.version}`, record.slots), side("The replay", `${answer.policy.name} ${answer.policy.version}`, again ? again.explanation : []));
    } catch (error) {
      if (error.name !== "AbortError") show(body, trouble(error));
    }
  }

  let attempt = 0;
  const latest = () => attempt;

  function close() {
    if (!opened) return;
    opened.querySelector(".replay-row").setAttribute("aria-expanded", "false");
    opened.querySelector(".replay-why")?.remove();
    opened = null;
  }

  /** Shows an epoch's row, opened; both have waited where there is none. */
  function open(epoch) {
    if (!wanted().some((item) => item.epoch === epoch)) only.checked = false;
    const index = wanted().findIndex((item) => item.epoch === epoch);
    if (index < 0) return;
    if (!rows.querySelector(`[data-epoch="${epoch}"]`)) {
      list();
      while (shown <= index) add();
    }
    const place = rows.querySelector(`[data-epoch="${epoch}"]`);
    const button = place.querySelector(".replay-row");
    if (button.getAttribute("aria-expanded") !== "true") toggle(place, wanted()[index]);
    button.focus({ preventScroll: true });
    place.scrollIntoView({ block: "nearest" });
  }

  return {
    element,
    open,
    show(answer) {
      items = answer.items;
      structural = answer.structural_divergence;
      attempt = answer.attempt;
      list();
    },
  };
}

const badge = (agrees) => h("span", { class: `badge ${agrees ? "same" : "other"}` }, agrees ? "same" : "differs");

function pair(slot) {
  const side = (choice) => h("span", { class: "choice" }, actionChip(choice.action), h("span", { class: "reason" }, choice.reason || "beside another command"));
  return h("span", { class: `slot-pair${slot.agrees ? "" : " differing"}` }, h("span", { class: "slot-name" }, about(slot)), side(slot.logged), side(slot.replayed));
}

function side(name, policy, slots) {
  return h("section", { class: "replay-side" }, h("h3", {}, name, h("small", {}, policy)), slots.map((slot) => slotOf(slot)));
}
