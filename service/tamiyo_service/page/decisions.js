// The decisions of a run as a list, the latest first.

import { getDecisions } from "./api.js";
import { h, show } from "./dom.js";
import { whole } from "./format.js";
import { actionChip, trouble } from "./parts.js";

const ACTING = ["GERMINATE", "FOSSILIZE", "CULL"];
const PAGE = 40;
const MOST_ROWS = 400;

export function decisionList(id, choose) {
  const rows = h("ol", { class: "decision-rows" });
  const more = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => load() } }, "Earlier decisions");
  const all = h("input", { type: "checkbox", id: "all-decisions", on: { change: () => restart() } });
  const element = h(
    "section",
    { class: "card decisions", "aria-label": "Decisions" },
    h("div", { class: "card-head" }, h("h2", {}, "Decisions"), h("label", { class: "switch", for: "all-decisions" }, all, h("span", {}, "with waits"))),
    rows,
    more,
  );
  const known = new Map();
  let cursor = null;
  let selected = null;

  const wanted = () => ({ action: all.checked ? [] : ACTING, limit: PAGE });
  const key = (item) => `${item.attempt}/${item.epoch}`;

  async function refresh() {
    const page = await getDecisions(id, wanted());
    if (known.size <= PAGE) cursor = page.next_cursor;
    const fresh = page.items.filter((item) => !known.has(key(item)));
    for (const item of page.items) update(item);
    rows.prepend(...fresh.map(add));
    trim();
    tell();
  }

  async function load() {
    try {
      const page = await getDecisions(id, { ...wanted(), cursor });
      cursor = page.next_cursor;
      rows.append(...page.items.filter((item) => !known.has(key(item))).map(add));
      tell();
    } catch (error) {
      rows.append(h("li", {}, trouble(error)));
    }
  }

  async function restart() {
    known.clear();
    cursor = null;
    show(rows);
    try {
      await refresh();
    } catch (error) {
      show(rows, h("li", {}, trouble(error)));
    }
  }

  function tell() {
    more.hidden = cursor === null || known.size >= MOST_ROWS;
    if (!known.size) show(rows, h("li", { class: "empty" }, all.checked ? "Nothing has been decided yet." : "So far it has only waited."));
    else rows.querySelector(".empty")?.remove();
  }

  /** A list that nobody scrolls through stays short while a long training goes on. */
  function trim() {
    const surplus = [...known].slice(0, Math.max(0, known.size - MOST_ROWS));
    while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
    for (const [name, button] of surplus) if (!button.isConnected) known.delete(name);
  }

  function update(item) {
    const button = known.get(key(item));
    if (button) show(button.querySelector(".outcome"), outcomeOf(item));
  }

  function add(item) {
    const button = h(
      "button",
      { type: "button", class: `decision-row${item.superseded ? " superseded" : ""}`, on: { click: () => choose({ epoch: item.epoch, attempt: item.attempt }) } },
      h("span", { class: "number epoch" }, whole(item.epoch)),
      actionChip(item.action),
      h("span", { class: "reason" }, item.commands[0].reason),
      h("span", { class: "outcome" }, outcomeOf(item)),
    );
    known.set(key(item), button);
    button.setAttribute("aria-pressed", String(selected === key(item)));
    return h("li", {}, button);
  }

  function select(mark) {
    selected = mark ? `${mark.attempt ?? 0}/${mark.epoch}` : null;
    for (const [name, button] of known) button.setAttribute("aria-pressed", String(name === selected));
  }

  return { element, refresh, select };
}

function outcomeOf(item) {
  if (item.superseded) return "rewound";
  const acting = item.commands[0].command_type !== "REQUEST_STATE";
  if (!item.outcomes.length) return acting ? "pending" : "";
  const status = item.outcomes[0].status.toLowerCase();
  return status === "executed" ? h("span", { class: "fate executed", role: "img", "aria-label": status, title: status }, "✓") : status;
}
