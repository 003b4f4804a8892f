// How panels, axes and marks are drawn. A frame tells where: left, right, top, bottom, and x of an epoch.

import { kindOf } from "./format.js";
import { extent, ticks, valueAt } from "./scales.js";

const NAMES = [
  "ink", "muted", "hairline", "accent", "second", "soft", "selection", "surface", "germinate", "fossilize", "cull", "plateau", "embargo", "hold", "border", "cull-soft",
  "stage-germinated", "stage-training", "stage-blending", "stage-shadowing", "stage-probationary", "stage-fossilized", "stage-failed",
];
const FONT = "11px ui-sans-serif, system-ui, 'Segoe UI', sans-serif";
const FAILED = new Set(["CULLED", "EMBARGOED", "RESETTING"]);

/** The theme's colours, by name. */
export function palette(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function drawPanel(context, panel, frame, colours) {
  context.font = FONT;
  context.textBaseline = "alphabetic";
  context.fillStyle = colours.muted;
  context.textAlign = "left";
  context.fillText(panel.title, frame.left, frame.top - 5);
  if (panel.shade) drawShade(context, panel.shade, frame, colours);
  if (panel.kind === "lines") drawLines(context, panel, frame, colours);
  else if (panel.kind === "decisions") drawDecisions(context, panel, frame, colours);
  else if (panel.kind === "periods") drawPeriods(context, panel, frame, colours);
  else drawSeeds(context, panel, frame, colours);
}

function drawLines(context, panel, frame, colours) {
  const [low, high] = panel.range || extent(panel.lines.map(({ line }) => line), frame.first, frame.last);
  panel.y = (value) => frame.bottom - ((frame.bottom - frame.top) * (value - low)) / (high - low);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticks(low, high, Math.max(2, Math.round(panel.height / 36)))) {
    const y = Math.round(panel.y(tick.value)) + 0.5;
    if (y < frame.top - 1 || y > frame.bottom + 1) continue;
    context.strokeStyle = colours.hairline;
    context.lineWidth = 1;
    stroke(context, [[frame.left, y], [frame.right, y]]);
    context.fillStyle = colours.muted;
    context.fillText(tick.text, frame.left - 8, y);
  }
  context.save();
  context.beginPath();
  context.rect(frame.left - 1, frame.top - 4, frame.right - frame.left + 2, frame.bottom - frame.top + 8);
  context.clip();
  for (const { line, colour, width = 1.6, dash = [] } of panel.lines) {
    context.strokeStyle = colours[colour];
    context.lineWidth = line.epochs.length > frame.right - frame.left ? Math.min(width, 0.8) : width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    stroke(context, line.epochs.map((epoch, index) => [frame.x(epoch), panel.y(line.values[index])]));
    context.setLineDash([]);
    if (line.epochs.length === 1) dot(context, frame.x(line.epochs[0]), panel.y(line.values[0]), colours[colour]);
  }
  for (const epoch of panel.alarms || []) {
    context.fillStyle = colours.cull;
    context.fillRect(frame.x(epoch) - 1, frame.top, 2, frame.bottom - frame.top);
  }
  context.restore();
}

/** Epochs that are to be read otherwise than those before. */
function drawShade(context, [first, last], frame, colours) {
  const from = Math.max(frame.left, frame.x(first));
  const to = Math.min(frame.right, frame.x(last + 0.5));
  if (to <= from) return;
  context.save();
  context.beginPath();
  context.rect(from, frame.top - 2, to - from, frame.bottom - frame.top + 4);
  context.clip();
  context.fillStyle = colours.soft;
  context.globalAlpha = 0.55;
  context.fillRect(from, frame.top - 2, to - from, frame.bottom - frame.top + 4);
  context.globalAlpha = 0.5;
  context.strokeStyle = colours.border;
  context.lineWidth = 1;
  const height = frame.bottom - frame.top + 4;
  for (let x = from - height; x < to; x += 9) stroke(context, [[x, frame.bottom + 2], [x + height, frame.top - 2]]);
  context.restore();
  context.strokeStyle = colours.muted;
  context.setLineDash([4, 3]);
  stroke(context, [[Math.round(from) + 0.5, frame.top - 2], [Math.round(from) + 0.5, frame.bottom + 2]]);
  context.setLineDash([]);
}

/** Decisions of several sides below each other; where they differ a band joins them. */
function drawDecisions(context, panel, frame, colours) {
  const height = panel.height / panel.rows.length;
  const apart = (frame.right - frame.left) / Math.max(1, frame.last - frame.first);
  context.fillStyle = colours["cull-soft"];
  for (const epoch of panel.differing) {
    if (epoch < frame.first || epoch > frame.last) continue;
    const wide = Math.min(20, Math.max(2, apart));
    rounded(context, frame.x(epoch) - wide / 2, frame.top, wide, panel.height, Math.min(4, wide / 2));
  }
  panel.rows.forEach(({ label, marks }, row) => {
    const middle = frame.top + (row + 0.5) * height;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(label, frame.left - 8, middle);
    context.strokeStyle = colours.hairline;
    context.lineWidth = 1;
    stroke(context, [[frame.left, Math.round(middle) + 0.5], [frame.right, Math.round(middle) + 0.5]]);
    const shown = marks.filter((mark) => mark.epoch >= frame.first && mark.epoch <= frame.last);
    const crowded = shown.length > (frame.right - frame.left) / 9;
    for (const mark of shown) {
      const kind = kindOf(mark.action);
      if (!crowded) {
        glyph(context, kind, frame.x(mark.epoch), middle, colours);
        continue;
      }
      context.fillStyle = colours[kind];
      context.fillRect(frame.x(mark.epoch) - 0.5, middle - 7, 1, 14);
    }
  });
}

function drawPeriods(context, panel, frame, colours) {
  const height = panel.height / panel.rows.length;
  panel.rows.forEach(({ label, colour, periods }, row) => {
    const top = frame.top + row * height;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(label, frame.left - 8, top + height / 2);
    context.fillStyle = colours.soft;
    context.fillRect(frame.left, top + height / 2 - 0.5, frame.right - frame.left, 1);
    context.fillStyle = colours[colour];
    for (const period of periods) {
      const from = Math.max(frame.left, frame.x(period.first_epoch - 0.5));
      const to = Math.min(frame.right, frame.x(period.last_epoch + 0.5));
      if (to > from) rounded(context, from, top + 3, Math.max(2, to - from), height - 6, 2);
    }
  });
}

function drawSeeds(context, panel, frame, colours) {
  const height = panel.height / Math.max(1, panel.lanes.length);
  panel.lanes.forEach(({ slot, bands }, lane) => {
    const top = frame.top + lane * height + 2;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(fit(context, slot, frame.left - 12), frame.left - 8, top + height / 2 - 2);
    for (const band of bands) drawBand(context, band, { ...frame, top, bottom: top + height - 4 }, colours);
  });
}

function drawBand(context, band, frame, colours) {
  const clip = (epoch) => Math.min(frame.right, Math.max(frame.left, frame.x(epoch)));
  const start = clip(band.stages[0].first_epoch - 0.5);
  const end = clip(band.stages.at(-1).last_epoch + 0.5);
  if (end - start < 0.5) return;
  for (const { stage, first_epoch: first, last_epoch: last } of band.stages) {
    const from = clip(first - 0.5);
    const to = clip(last + 0.5);
    context.fillStyle = colours[stageColour(stage)];
    context.globalAlpha = stage === "FOSSILIZED" ? 0.85 : 0.38;
    if (to > from) context.fillRect(from, frame.top, Math.max(1, to - from), frame.bottom - frame.top);
    context.globalAlpha = 1;
    if (to > from) context.fillRect(from, frame.bottom - 2, Math.max(1, to - from), 2);
  }
  if (end - start > 12) drawAlpha(context, band, frame, clip, colours, end);
  context.font = FONT;
  context.fillStyle = colours.ink;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const name = band.blueprint_id;
  if (context.measureText(name).width + 10 < end - start) context.fillText(name, start + 5, (frame.top + frame.bottom) / 2);
}

/** How much of the seed is blended in, as steps over its band. */
function drawAlpha(context, band, frame, clip, colours, end) {
  const { epochs, values } = band.alpha;
  if (values.every((value) => value === 0)) return;
  const y = (value) => frame.bottom - 1 - (frame.bottom - frame.top - 3) * value;
  context.strokeStyle = colours.ink;
  context.globalAlpha = 0.55;
  context.lineWidth = 1.2;
  const points = [...epochs.map((epoch, index) => [clip(epoch), y(values[index])]), [end, y(values.at(-1))]];
  stroke(context, points);
  context.globalAlpha = 1;
}

export function stageColour(stage) {
  return FAILED.has(stage) ? "stage-failed" : `stage-${stage.toLowerCase()}`;
}

export function drawAxis(context, frame, colours) {
  context.font = FONT;
  context.textBaseline = "top";
  context.textAlign = "center";
  for (const tick of ticks(frame.first, frame.last, Math.max(2, Math.floor((frame.right - frame.left) / 90)), true)) {
    const x = Math.round(frame.x(tick.value)) + 0.5;
    context.strokeStyle = colours.hairline;
    stroke(context, [[x, frame.bottom + 2], [x, frame.bottom + 6]]);
    context.fillStyle = colours.muted;
    context.fillText(tick.text, x, frame.bottom + 9);
  }
}

/** Draws decisions on the first panel's lines, each on that of its side; tells where they stand. */
export function drawMarks(context, marks, panel, frame, colours) {
  const shown = marks.filter((mark) => mark.epoch >= frame.first && mark.epoch <= frame.last);
  if (!panel || panel.kind !== "lines") return [];
  const crowded = shown.length > (frame.right - frame.left) / 9;
  return shown.map((mark) => {
    const value = valueAt(panel.lines[mark.side || 0]?.line, mark.epoch);
    const x = frame.x(mark.epoch);
    const y = crowded || value === undefined ? panel.top + panel.height : panel.y(value);
    const kind = kindOf(mark.action);
    if (!crowded) {
      context.strokeStyle = colours[kind];
      context.globalAlpha = 0.28;
      context.lineWidth = 1;
      stroke(context, [[Math.round(x) + 0.5, y], [Math.round(x) + 0.5, frame.bottom]]);
      context.globalAlpha = 1;
      glyph(context, kind, x, y, colours, mark.hollow);
    } else {
      context.fillStyle = colours[kind];
      context.fillRect(x - 0.5, y - 7, 1, 7);
    }
    return { mark, x, y };
  });
}

function glyph(context, kind, x, y, colours, hollow = false) {
  context.beginPath();
  if (kind === "germinate") polygon(context, [[x, y - 6.5], [x + 6, y + 4.5], [x - 6, y + 4.5]]);
  else if (kind === "fossilize") polygon(context, [[x, y - 6.5], [x + 6, y], [x, y + 6.5], [x - 6, y]]);
  else context.arc(x, y, 5.5, 0, 2 * Math.PI);
  const outlined = hollow || kind === "cull";
  context.fillStyle = outlined ? colours.surface : colours[kind];
  context.strokeStyle = outlined ? colours[kind] : colours.surface;
  context.lineWidth = outlined ? 2 : 1.5;
  context.setLineDash(hollow ? [2, 2] : []);
  context.fill();
  context.stroke();
  context.setLineDash([]);
  if (kind !== "cull") return;
  stroke(context, [[x - 2.2, y - 2.2], [x + 2.2, y + 2.2]]);
  stroke(context, [[x - 2.2, y + 2.2], [x + 2.2, y - 2.2]]);
}

function polygon(context, points) {
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
}

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function dot(context, x, y, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, 2.5, 0, 2 * Math.PI);
  context.fill();
}

function rounded(context, x, y, width, height, radius) {
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
  context.fill();
}

function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}

