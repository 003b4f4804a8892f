// Small parts that several places show.

import { h, svg } from "./dom.js";
import { actionWords, kindOf } from "./format.js";

const SIGNS = { germinate: "▲", fossilize: "◆", cull: "✕", wait: "·" };

/** An action with its sign and colour. */
export function actionChip(action) {
  const kind = kindOf(action);
  return h("span", { class: `chip action ${kind}` }, h("span", { "aria-hidden": "true", class: "sign" }, SIGNS[kind]), actionWords(action));
}

const STATUS_WORDS = { ACTIVE: "Active", HELD: "Held", COMPLETED: "Completed", SILENT: "Silent" };

/** What state a run is in: silent is told before active. */
export function statusOf(run, now) {
  const since = (now - Date.parse(run.last_report_at || run.created_at)) / 1000;
  return run.status === "ACTIVE" && since > (run.silent_after_seconds ?? silentAfter(run)) ? "SILENT" : run.status;
}

/** Seconds without a report after which a run has gone silent, by the rule of the fleet. */
function silentAfter(run) {
  const reports = Object.values(run.counts).reduce((sum, count) => sum + count, 0);
  const mean = reports ? (Date.parse(run.last_report_at) - Date.parse(run.created_at)) / 1000 / reports : 0;
  return Math.max(60, 5 * mean);
}

export function statusChip(status, result) {
  const words = status === "COMPLETED" && result ? `Completed · ${result}` : STATUS_WORDS[status] || status;
  return h("span", { class: `chip status ${status.toLowerCase()}` }, h("span", { class: "dot", "aria-hidden": "true" }), words);
}

export function labelChips(labels) {
  return Object.entries(labels).map(([key, value]) => h("span", { class: "tag" }, h("b", {}, key), ` ${value}`));
}

/** A small curve without axes. */
export function sparkline(line, { width = 120, height = 30, name = "" } = {}) {
  const drawing = svg("svg", { class: "sparkline", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name, preserveAspectRatio: "none" });
  const { epochs, values } = line;
  if (epochs.length < 2) return drawing;
  const low = Math.min(...values);
  const high = Math.max(...values);
  const x = (epoch) => 1 + ((width - 4) * (epoch - epochs[0])) / (epochs[epochs.length - 1] - epochs[0]);
  const y = (value) => (high === low ? height / 2 : height - 3 - ((height - 6) * (value - low)) / (high - low));
  const points = epochs.map((epoch, index) => `${x(epoch).toFixed(1)},${y(values[index]).toFixed(1)}`);
  drawing.append(
    svg("polygon", { points: `${points[0].split(",")[0]},${height} ${points.join(" ")} ${points.at(-1).split(",")[0]},${height}`, class: "under" }),
    svg("polyline", { points: points.join(" "), class: "over" }),
    svg("circle", { cx: x(epochs.at(-1)), cy: y(values.at(-1)), r: 2, class: "end" }),
  );
  return drawing;
}

/** What is wrong, where something was to be shown. */
export function trouble(error, again) {
  const words = error.status ? error.message : "The service does not answer.";
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", {}, words),
    again ? h("button", { type: "button", on: { click: again } }, "Try again") : null,
  );
}

/** Tells whether what is shown is live. */
export function liveSign() {
  const words = { live: "Live", waiting: "Reconnecting …", paused: "Paused", gone: "Deleted", absent: "Not there", opening: "Connecting …" };
  const text = h("span", {}, words.opening);
  const sign = h("span", { class: "live opening", role: "status" }, h("span", { class: "dot", "aria-hidden": "true" }), text);
  return {
    sign,
    set(state) {
      sign.className = `live ${state}`;
      text.textContent = words[state];
    },
  };
}

/** A choice where there are options, else text. */
function inputFor(field, common) {
  if (field.options) return h("select", common, field.options.map(([value, words]) => h("option", { value }, words)));
  return field.lines ? h("textarea", { ...common, rows: field.lines }) : h("input", { ...common, type: "text" });
}

/** A dialog that asks before something is done. `work` gets the fields' values; what it throws is shown. */
export function confirmDialog({ title, about, fields = [], confirm, danger = false, work }) {
  const inputs = fields.map((field) => {
    const common = { id: `field-${field.name}`, name: field.name, required: field.required !== false, maxlength: field.most, autocomplete: "off" };
    const input = inputFor(field, common);
    input.value = field.value || field.options?.[0]?.[0] || "";
    return { field, input };
  });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
  const form = h(
    "form",
    { on: { submit } },
    h("h2", { id: "dialog-title" }, title),
    about ? h("p", { class: "about" }, about) : null,
    inputs.map(({ field, input }) => h("label", { for: input.id }, h("span", {}, field.label), input, field.hint ? h("small", {}, field.hint) : null)),
    wrong,
    h("div", { class: "buttons" }, h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel"), go),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  dialog.addEventListener("close", () => dialog.remove());

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    wrong.textContent = "";
    try {
      await work(Object.fromEntries(inputs.map(({ field, input }) => [field.name, input.value.trim()])));
      dialog.close();
    } catch (error) {
      wrong.textContent = error.status ? error.message : `Nothing was done: ${error.message}`;
      go.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  (inputs[0]?.input || go).focus();
  return dialog;
}
