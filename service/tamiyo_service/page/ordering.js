// What an operator orders of a run: its next command, or another policy. Each asks first, and for a reason.

import { ask, getPolicies, path } from "./api.js";
import { announce, h, show } from "./dom.js";
import { actionWords } from "./format.js";
import { actionChip, confirmDialog } from "./parts.js";

const LIVE = new Set(["GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY"]);
const REASON = { name: "reason", label: "Why", most: 128, hint: "Kept with the order, and shown with its command." };
const ABOUT_SEED = new Set(["CULL", "FOSSILIZE"]);

const order = (id, body) => ask(path("runs", id, "override"), { method: "POST", body });
const withdraw = (id) => ask(path("runs", id, "override"), { method: "DELETE" });
const give = (id, body) => ask(path("runs", id, "policy"), { method: "POST", body });

/**
 * Buttons, and a line that tells of an order that waits.
 *
 * @param {string} id of the run
 * @param {(run: object) => void} changed gets the run as it stands then
 */
export function ordering(id, changed) {
  const override = h("button", { type: "button", class: "quiet", on: { click: askOverride } }, "Override …");
  const policy = h("button", { type: "button", class: "quiet", on: { click: askPolicy } }, "Policy …");
  const waiting = h("div", { class: "order-line", hidden: true });
  let run = null;
  let told = "";

  function update(fresh) {
    run = fresh;
    const over = run.status === "COMPLETED";
    override.hidden = policy.hidden = over;
    const text = JSON.stringify([run.override ?? null, over]);
    if (text === told) return;
    told = text;
    waiting.hidden = !run.override;
    if (run.override) show(waiting, line(run.override, over));
  }

  /** Of a run that is over nothing can be taken back: it waits for a rewind. */
  function line({ action, target_seed_id: seed, reason, by }, over) {
    return [
      h("span", { class: "muted" }, "Ordered for the next report:"),
      actionChip(action),
      seed ? h("span", { class: "run-id" }, seed) : null,
      h("span", { class: "reason" }, `${reason}${by ? ` — ${by}` : ""}`),
      over ? null : h("button", { type: "button", class: "quiet", on: { click: takeBack } }, "Take back"),
    ];
  }

  function askOverride() {
    const live = run.seeds.filter((seed) => LIVE.has(seed.stage));
    const germinations = run.config.topology.blueprints.map(({ name }) => `GERMINATE_${name.toUpperCase()}`);
    const actions = [...(live.length ? ["CULL", "FOSSILIZE"] : []), ...germinations, "WAIT"];
    confirmDialog({
      title: "Order the next command?",
      about: "It replaces what the policy decides at the next report, if it is legal then; if not, nothing is issued in its place. A hold does not stop it.",
      fields: [
        { name: "action", label: "Command", options: actions.map((action) => [action, actionWords(action)]) },
        { name: "seed", label: "Seed", required: false, options: [["", "The only one, or none"], ...live.map((seed) => [seed.seed_id, `${seed.seed_id}: ${seed.blueprint_id}, ${seed.stage.toLowerCase()}`])], hint: "For a cull or a fossilization, or to leave one seed alone." },
        REASON,
      ],
      confirm: "Order",
      danger: true,
      work: async ({ action, seed, reason }) => {
        const about = seed && (ABOUT_SEED.has(action) || action === "WAIT") ? { target_seed_id: seed } : {};
        changed(await order(id, { action, reason, ...about }));
        announce(`${actionWords(action)} is ordered for the next report.`);
      },
    });
  }

  function takeBack() {
    confirmDialog({
      title: "Take the order back?",
      about: "The policy decides about the next report again.",
      confirm: "Take back",
      work: async () => {
        changed(await withdraw(id));
        announce("The order is taken back.");
      },
    });
  }

  async function askPolicy() {
    let policies = [];
    try {
      policies = (await getPolicies()).items;
    } catch (error) {
      told = "";
      waiting.hidden = false;
      show(waiting, h("span", { role: "alert" }, error.message));
      return;
    }
    const options = policies.flatMap((one) => one.versions.map((version) => [`${one.name}@${version}`, `${one.name} ${version}`]));
    confirmDialog({
      title: "Give this run another policy?",
      about: `From its next report on it decides in place of ${run.policy.name} ${run.policy.version}, about the same seeds, with the same embargo and penalties. Replay shows first what it would have done.`,
      fields: [{ name: "policy", label: "Policy", options }, REASON],
      confirm: "Give policy",
      danger: true,
      work: async ({ policy: chosen, reason }) => {
        const at = chosen.indexOf("@");
        const fresh = await give(id, { policy: { name: chosen.slice(0, at), version: chosen.slice(at + 1) }, reason });
        changed(fresh);
        announce(`${fresh.policy.name} ${fresh.policy.version} decides from the next report on.`);
      },
    });
  }

  return { buttons: [override, policy], waiting, update };
}
