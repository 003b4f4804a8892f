// Numbers, moments and names as people read them.

const DASH = "–";
const WHOLE = new Intl.NumberFormat("en");

export const whole = (value) => (value === null || value === undefined ? DASH : WHOLE.format(value));

/** A number with so many decimals; what is no number is told as it is ("NaN", "Infinity"). */
export function fixed(value, decimals = 2) {
  if (value === null || value === undefined) return DASH;
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 10 ** -decimals / 2 || size >= 1e7)) return value.toExponential(1);
  return value.toFixed(decimals);
}

export const percent = (value) => (typeof value === "number" ? `${value.toFixed(2)} %` : fixed(value));
export const signed = (value, decimals = 2) =>
  typeof value === "number" ? `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(decimals)}` : DASH;
export const share = (value) => (typeof value === "number" ? `${Math.round(value * 100)} %` : DASH);

export function measured(value, measure) {
  return measure === "val_loss" ? fixed(value, 3) : percent(value);
}

/** How long ago, in one unit. */
export function span(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function ago(moment, now) {
  if (!moment) return "never";
  const seconds = Math.max(0, (now - Date.parse(moment)) / 1000);
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
}

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" });
export const exact = (moment) => (moment ? `${MOMENT.format(new Date(moment))} UTC` : DASH);

/** What kind of action it is: wait, germinate, fossilize or cull. */
export function kindOf(action) {
  if (action.startsWith("GERMINATE")) return "germinate";
  if (action === "FOSSILIZE") return "fossilize";
  if (action === "CULL") return "cull";
  return "wait";
}

/** An action in words: "Germinate norm". */
export function actionWords(action) {
  const [verb, ...rest] = action.toLowerCase().split("_");
  const word = verb.charAt(0).toUpperCase() + verb.slice(1);
  return rest.length ? `${word} ${rest.join("_")}` : word;
}

export const words = (name) => name.replaceAll("_", " ").toLowerCase();
