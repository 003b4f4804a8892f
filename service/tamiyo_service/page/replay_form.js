// With what a run is replayed: policy, preset, single settings. The address has the same in words.

import { h, show } from "./dom.js";

const PRESETS = ["report"];
const SECTIONS = ["heuristic", "tracker", "learned"];

/**
 * The form.
 *
 * @param {object} around
 * @param {object} around.run as it stands
 * @param {object[]} around.policies that there are
 * @param {URLSearchParams} around.parameters of the address
 * @param {(chosen: URLSearchParams) => void} around.onReplay
 */
export function replayForm({ run, policies, parameters, onReplay }) {
  const policy = select("replay-policy", policyOptions(run, policies), parameters.get("policy") || "");
  const preset = select("replay-preset", presetOptions(run), parameters.get("preset") || "");
  const rows = h("ul", { class: "setting-rows" });
  const add = h("button", { type: "button", class: "quiet", on: { click: () => addRow("", "", true) } }, "+ Another setting");
  const element = h(
    "form",
    { class: "card replay-form", "aria-label": "Replay with", on: { submit } },
    h("label", { for: policy.id }, h("span", {}, "Policy"), policy),
    h("label", { for: preset.id }, h("span", {}, "Preset"), preset),
    h("div", { class: "settings" }, rows, add),
    h("button", { type: "submit", class: "primary" }, "Replay"),
  );
  for (const text of parameters.getAll("set")) {
    const equals = text.indexOf("=");
    if (equals > 0) addRow(text.slice(0, equals), text.slice(equals + 1), false);
  }

  function addRow(name, value, focus) {
    const number = (addRow.count = (addRow.count || 0) + 1);
    const chosen = select(`setting-${number}`, settingOptions(run), name);
    const text = h("input", { type: "text", id: `value-${number}`, autocomplete: "off", spellcheck: "false", "aria-label": "Value", maxlength: 400 });
    text.value = value;
    chosen.setAttribute("aria-label", "Setting");
    chosen.addEventListener("change", () => {
      text.value = chosen.value ? written(valueOf(run, chosen.value)) : "";
    });
    const row = h("li", {}, chosen, text, h("button", { type: "button", class: "quiet", "aria-label": "Leave this setting out", on: { click: () => row.remove() } }, "✕"));
    rows.append(row);
    if (focus) chosen.focus();
  }

  /** What is chosen, as parameters of the address. */
  function chosen() {
    const found = new URLSearchParams();
    if (policy.value) found.set("policy", policy.value);
    if (preset.value) found.set("preset", preset.value);
    for (const row of rows.children) {
      const [name, value] = [row.querySelector("select").value, row.querySelector("input").value.trim()];
      if (name && value) found.append("set", `${name}=${value}`);
    }
    return found;
  }

  function submit(event) {
    event.preventDefault();
    onReplay(chosen());
  }

  return { element, chosen };
}

/** The body of a replay. */
export function requestOf(chosen) {
  const body = {};
  const policy = chosen.get("policy");
  if (policy) {
    const at = policy.indexOf("@");
    body.policy = at < 0 ? { name: policy } : { name: policy.slice(0, at), version: policy.slice(at + 1) };
  }
  const preset = chosen.get("preset");
  if (preset) body.heuristic = { preset: preset === "none" ? null : preset };
  for (const text of chosen.getAll("set")) {
    const [, section, name, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(text) || [];
    if (section) body[section] = { ...body[section], [name]: read(value) };
  }
  return body;
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function valueOf(run, name) {
  const [section, setting] = name.split(".");
  return run.config[section][setting];
}

function policyOptions(run, policies) {
  const named = policies.flatMap((one) => one.versions.map((version) => [`${one.name}@${version}`, `${one.name} ${version}`]));
  return [["", `The run's: ${run.policy.name} ${run.policy.version}`], ...named];
}

function presetOptions(run) {
  const { preset } = run.config.heuristic;
  return [["", preset ? `The run's: ${preset}` : "The run's settings"], ...PRESETS.map((name) => [name, name]), ...(preset ? [["none", "No preset"]] : [])];
}

function settingOptions(run) {
  const names = SECTIONS.flatMap((section) => Object.keys(run.config[section]).map((name) => `${section}.${name}`));
  return [["", "Choose a setting"], ...names.filter((name) => name !== "heuristic.preset").map((name) => [name, name])];
}

function select(id, options, value) {
  const element = h("select", { id });
  const known = options.some(([name]) => name === value);
  show(element, [...options, ...(known ? [] : [[value, value]])].map(([name, words]) => h("option", { value: name, selected: name === value }, words)));
  element.value = value;
  return element;
}
