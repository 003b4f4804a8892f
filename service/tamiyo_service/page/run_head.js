// The head of a run: what it is, how it stands, and what an operator can do.

import { hold, release, setLabels } from "./api.js";
import { announce, h, setText, show } from "./dom.js";
import { ago, exact, fixed, measured, percent, whole } from "./format.js";
import { ordering } from "./ordering.js";
import { pickRun } from "./pick_run.js";
import { confirmDialog, labelChips, statusChip, statusOf } from "./parts.js";
import { go, toCompare, toReplay } from "./router.js";

export function runHead(id, live, changed) {
  const status = h("span", { class: "status-cell" });
  const labels = h("div", { class: "labels" });
  const policy = h("span", { class: "muted" });
  const figures = h("dl", { class: "figures" });
  const steer = h("button", { type: "button", hidden: true });
  const edit = h("button", { type: "button", class: "quiet", on: { click: editLabels } }, "Labels");
  const compare = h("button", { type: "button", class: "quiet", on: { click: () => pickRun(id, (other) => go(toCompare(id, other))) } }, "Compare");
  const replay = h("button", { type: "button", class: "quiet", on: { click: () => go(toReplay(id)) } }, "Replay");
  const orders = ordering(id, changed);
  const buttons = h("div", { class: "buttons", hidden: true }, replay, compare, edit, orders.buttons, steer);
  const holding = h("div", { class: "hold-line", hidden: true });
  let run = null;
  const shown = {};

  const element = h(
    "header",
    { class: "run-head" },
    h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: "/", "data-go": true }, "Fleet"), h("span", { "aria-hidden": "true" }, " / ")),
    h(
      "div",
      { class: "heading" },
      h("div", { class: "title" }, h("h1", { class: "run-id" }, id), h("div", { class: "under-title" }, status, policy, live.sign)),
      buttons,
    ),
    labels,
    holding,
    orders.waiting,
    figures,
  );

  function update(fresh, series) {
    run = fresh;
    buttons.hidden = false;
    orders.update(run);
    const standing = statusOf(run, Date.now());
    const last = { standing, status: run.status, result: run.result, labels: run.labels, hold: run.hold };
    const text = JSON.stringify(last);
    if (shown.state !== text) {
      shown.state = text;
      show(status, statusChip(standing, run.result));
      show(labels, labelChips(run.labels));
      holding.hidden = !run.hold;
      if (run.hold) show(holding, held(run.hold));
      steering();
    }
    setText(policy, `${run.policy.name} ${run.policy.version}${run.attempt ? ` · attempt ${run.attempt}` : ""}`);
    tell(series);
  }

  function held({ reason, by, since }) {
    const told = h("time", { datetime: since, title: exact(since) }, ago(since, Date.now()));
    return [h("span", { class: "muted" }, "Held, ", told, ":"), h("span", { class: "reason" }, `${reason}${by ? ` — ${by}` : ""}`)];
  }

  function steering() {
    const held = run.status === "HELD";
    steer.hidden = run.status === "COMPLETED";
    steer.textContent = held ? "Release …" : "Hold …";
    steer.className = held ? "primary" : "danger";
    steer.onclick = held ? askRelease : askHold;
  }

  function tell(series) {
    const lines = series ? series.lines : {};
    const accuracy = lines.val_accuracy;
    const loss = lines.val_loss;
    const grown = run.counts.FOSSILIZE || 0;
    const culled = run.counts.CULL || 0;
    const acted = Object.entries(run.counts).filter(([action]) => action !== "WAIT").reduce((sum, [, count]) => sum + count, 0);
    const facts = [
      ["Epoch", `${whole(run.last_epoch)}`, `of ${whole(run.config.max_epochs)}`],
      accuracy ? ["Accuracy", percent(accuracy.values.at(-1)), `best ${percent(Math.max(...accuracy.values))}`] : null,
      loss ? ["Loss", measured(loss.values.at(-1), "val_loss"), `best ${fixed(Math.min(...loss.values), 3)}`] : null,
      ["Seeds", whole(grown), `kept, ${whole(culled)} culled`],
      ["Decisions", whole(acted), `besides ${whole(run.counts.WAIT || 0)} waits`],
      ["Last report", ago(run.last_report_at, Date.now()), ""],
    ].filter(Boolean);
    const text = JSON.stringify(facts);
    if (shown.facts === text) return;
    shown.facts = text;
    show(figures, facts.map(([name, value, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null))));
  }

  function askHold() {
    confirmDialog({
      title: "Hold this run?",
      about: "From its next report on it is only told to wait, until somebody releases it. The training itself goes on.",
      fields: [{ name: "reason", label: "Why", most: 128, hint: "Shown with every decision while it is held." }],
      confirm: "Hold",
      danger: true,
      work: async ({ reason }) => {
        changed(await hold(id, reason));
        announce("The run is held.");
      },
    });
  }

  function askRelease() {
    confirmDialog({
      title: "Release this run?",
      about: "Its policy decides again from the next report on.",
      confirm: "Release",
      work: async () => {
        changed(await release(id));
        announce("The run is released.");
      },
    });
  }

  function editLabels() {
    const lines = Object.entries(run ? run.labels : {}).map(([key, value]) => `${key}: ${value}`);
    confirmDialog({
      title: "Labels",
      about: "One on a line, as key: value.",
      fields: [{ name: "labels", label: "Labels", lines: 6, required: false, value: lines.join("\n") }],
      confirm: "Save",
      work: async ({ labels: text }) => {
        changed(await setLabels(id, parsed(text)));
        announce("The labels are saved.");
      },
    });
  }

  return { element, update };
}

function parsed(text) {
  const labels = {};
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`“${line}” is not written key: value`);
    labels[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return labels;
}
