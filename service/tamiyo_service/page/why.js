// Why: one decision with everything it was made from.

import { getDecision } from "./api.js";
import { announce, h, show } from "./dom.js";
import { actionWords, exact, fixed, share, whole, words } from "./format.js";
import { actionChip, trouble } from "./parts.js";
import { raw, signalsOf } from "./why_signals.js";

/**
 * The panel.
 *
 * @param {string} runId
 * @param {object} around
 * @param {() => void} around.onClose
 * @param {(step: number) => void} around.onStep to the next decision, or the one before
 */
export function createWhy(runId, { onClose, onStep }) {
  const body = h("div", { class: "why-body" });
  const title = h("h2", { id: "why-title", tabindex: "-1" }, "Why");
  const element = h(
    "aside",
    { class: "why", hidden: true, "aria-labelledby": "why-title", on: { keydown: onKey } },
    h(
      "div",
      { class: "why-bar" },
      title,
      h("span", { class: "spring" }),
      h("button", { type: "button", class: "quiet", "aria-label": "Decision before", on: { click: () => onStep(-1) } }, "←"),
      h("button", { type: "button", class: "quiet", "aria-label": "Next decision", on: { click: () => onStep(1) } }, "→"),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: close } }, "✕"),
    ),
    body,
  );
  let aborter = new AbortController();
  let opener = null;

  async function open({ epoch, attempt }, { focus = true } = {}) {
    aborter.abort();
    aborter = new AbortController();
    if (element.hidden) opener = document.activeElement;
    element.hidden = false;
    title.textContent = `Epoch ${whole(epoch)}`;
    if (focus) title.focus({ preventScroll: true });
    try {
      const record = await getDecision(runId, epoch, attempt, aborter.signal);
      title.textContent = `Epoch ${whole(record.epoch)}${record.attempt ? ` · attempt ${record.attempt}` : ""}`;
      show(body, told(record));
      body.scrollTop = 0;
      announce(`${actionWords(record.action)} at epoch ${record.epoch}: ${record.commands[0].reason}`);
    } catch (error) {
      if (error.name !== "AbortError") show(body, trouble(error, () => open({ epoch, attempt })));
    }
  }

  function close() {
    aborter.abort();
    element.hidden = true;
    onClose();
    if (opener && opener.isConnected) opener.focus({ preventScroll: true });
  }

  function onKey(event) {
    if (event.key === "Escape") close();
  }

  return { element, open, close };
}

function told(record) {
  return [
    record.superseded ? h("p", { class: "remark" }, "A later rewind discarded this decision.") : null,
    ...record.warnings.map((warning) => h("p", { class: "remark" }, warning)),
    ...commandsOf(record),
    section("How it was decided", record.slots.map((slot) => slotOf(slot, record.commands[0].reason))),
    shadowsOf(record),
    penaltiesOf(record),
    signalsOf(record),
    raw(record),
    h("p", { class: "foot" }, `${record.policy.name} ${record.policy.version} · ${exact(record.decided_at)}`),
  ];
}

const section = (title, ...children) => h("section", { class: "why-section" }, h("h3", {}, title), ...children);

function commandsOf(record) {
  return record.commands.map((command, index) => {
    const outcome = record.outcomes.find((one) => one.command_id === command.command_id);
    const slot = record.slots.find((one) => one.reason === command.reason) || record.slots[index];
    const waits = command.command_type === "REQUEST_STATE";
    const target = command.target_seed_id || command.blueprint_id;
    return h(
      "div",
      { class: "verdict" },
      actionChip(waits ? "WAIT" : slot ? slot.action : record.action),
      h("p", { class: "because" }, command.reason),
      h(
        "dl",
        { class: "facts" },
        fact("Confidence", share(command.confidence)),
        fact("Risk", h("span", { class: `risk ${command.risk_level.toLowerCase()}` }, words(command.risk_level))),
        target ? fact("About", target) : null,
        waits ? null : fact("What became of it", fate(outcome)),
      ),
    );
  });
}

function fate(outcome) {
  if (!outcome) return h("span", { class: "muted" }, "not reported");
  const text = `${words(outcome.status)} (epoch ${whole(outcome.epoch)})${outcome.detail ? `: ${outcome.detail}` : ""}`;
  return h("span", { class: `fate ${outcome.status.toLowerCase()}` }, text);
}

export const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** How one slot was decided; a reason that was told above (`told`) is not repeated. */
export function slotOf(slot, told = null) {
  const name = slot.seed_id ? `Seed ${slot.seed_id} in ${slot.slot_id}` : "Whether to germinate";
  const numbers = [
    slot.value === null ? null : fact("Value", fixed(slot.value, 3)),
    slot.entropy === null ? null : fact("Entropy", `${fixed(slot.entropy, 3)} nats`),
    slot.uncertainty === null ? null : fact("Uncertainty", fixed(slot.uncertainty, 3)),
    slot.runner_up ? fact("Runner-up", actionWords(slot.runner_up)) : null,
  ];
  return h(
    "div",
    { class: "slot" },
    h("h4", {}, name, " ", actionChip(slot.action)),
    slot.reason === told ? null : h("p", { class: "because small" }, slot.reason),
    comparisonsOf(slot.comparisons),
    actionsOf(slot),
    numbers.some(Boolean) ? h("dl", { class: "facts" }, numbers) : null,
  );
}

function comparisonsOf(comparisons) {
  if (!comparisons.length) return null;
  return h(
    "table",
    { class: "comparisons" },
    h("thead", {}, h("tr", {}, ["Compared", "Value", "Threshold", "Holds"].map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      comparisons.map((one) =>
        h(
          "tr",
          { class: one.holds ? "holds" : "fails" },
          h("th", { scope: "row" }, words(one.name)),
          h("td", {}, fixed(one.value, 3)),
          h("td", {}, fixed(one.threshold, 3)),
          h("td", {}, h("span", { class: "holds-sign", title: one.holds ? "holds" : "does not hold" }, one.holds ? "✓ yes" : "✕ no")),
        ),
      ),
    ),
  );
}

/** Every action: whether it was legal, and how probable where a network said so. */
function actionsOf(slot) {
  const highest = slot.probabilities ? Math.max(...Object.values(slot.probabilities)) || 1 : 1;
  return h(
    "ul",
    { class: "actions", "aria-label": "Actions" },
    Object.entries(slot.mask).map(([action, legal]) => {
      const probability = slot.probabilities ? slot.probabilities[action] : null;
      const bar = h("span", { class: "fill" });
      bar.style.width = `${legal && probability !== null ? (100 * probability) / highest : 0}%`;
      const marks = [action === slot.action ? "chosen" : "", action === slot.runner_up ? "runner-up" : "", legal ? "" : "not legal"].filter(Boolean);
      return h(
        "li",
        { class: `${legal ? "legal" : "illegal"}${action === slot.action ? " chosen" : ""}` },
        h("span", { class: "action-name" }, actionWords(action)),
        slot.probabilities ? h("span", { class: "track", "aria-hidden": "true" }, bar) : h("span", {}),
        h("span", { class: "number" }, legal && probability !== null ? `${(100 * probability).toFixed(1)} %` : ""),
        h("span", { class: "note" }, marks.join(", ")),
      );
    }),
  );
}

function shadowsOf(record) {
  if (!record.shadow.length) return null;
  return section(
    "What other policies would have done",
    h(
      "ul",
      { class: "shadows" },
      record.shadow.map((other) => {
        const acting = other.slots.filter((slot) => slot.action !== "WAIT");
        const shown = acting.length ? acting : other.slots.slice(-1);
        return h(
          "li",
          {},
          h("span", { class: "shadow-name" }, `${other.policy.name} ${other.policy.version}`),
          shown.map((slot) => actionChip(slot.action)),
          h("span", { class: other.agrees ? "agrees" : "differs" }, other.agrees ? "agrees" : "differs"),
          h("p", { class: "because small" }, other.commands[0].reason),
        );
      }),
    ),
  );
}

function penaltiesOf(record) {
  const penalties = Object.entries(record.penalties).filter(([, penalty]) => penalty > 0);
  if (!penalties.length && record.embargo_until_epoch === null) return null;
  return section(
    "Standing in the way",
    h(
      "dl",
      { class: "facts" },
      record.embargo_until_epoch === null ? null : fact("Embargo", `no germination before epoch ${whole(record.embargo_until_epoch)}`),
      penalties.map(([blueprint, penalty]) => fact(`Penalty of ${blueprint}`, fixed(penalty, 2))),
    ),
  );
}
