// A chart of panels over one axis of epochs, drawn on a canvas: as quick for ten thousand epochs as for ten.
// It can be pointed at, dragged over to look closer, and gone through with the keyboard.

import { drawAxis, drawMarks, drawPanel, palette } from "./chart_draw.js";
import { announce, h, show } from "./dom.js";

const LEFT = 62;
const RIGHT = 14;
const AXIS = 24;
const GAP = 18;
const NEAR = 14;

/**
 * @param {object} options
 * @param {string} options.label what it shows, for those who listen
 * @param {(mark: object) => void} options.onPick gets what was chosen: `{epoch, attempt}`
 * @param {(range: [number, number] | null) => void} options.onZoom gets the epochs to look at closer; null: all
 * @param {(epoch: number) => (Node | string)[]} options.tell what there is at an epoch, one line each
 */
export function createChart({ label, onPick, onZoom, tell }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const over = h("canvas", { class: "over", "aria-hidden": "true" });
  const tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  const element = h(
    "div",
    { class: "chart", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": `${label}. Left and right go from decision to decision, Enter tells why, plus and minus zoom.` },
    canvas,
    over,
    tip,
  );
  const view = { panels: [], marks: [], first: 0, last: 1, placed: [], width: 0, height: 0, selected: null };
  let cursor = -1;
  let drag = null;
  let frame = 0;

  const plot = () => ({ left: LEFT, right: Math.max(LEFT + 10, view.width - RIGHT) });
  const span = () => Math.max(1, view.last - view.first);
  const x = (epoch) => plot().left + ((plot().right - plot().left) * (epoch - view.first)) / span();
  const epochAt = (px) => {
    const raw = view.first + (span() * (px - plot().left)) / (plot().right - plot().left);
    return Math.min(view.last, Math.max(view.first, Math.round(raw)));
  };

  /** Shows other data: panels with their heights, marks, and the range of epochs. */
  function setData({ panels, marks, first, last }) {
    Object.assign(view, { panels, marks, first, last: Math.max(last, first + 1) });
    later();
  }

  function select(mark) {
    view.selected = mark;
    later();
  }

  function later() {
    window.cancelAnimationFrame(frame);
    frame = window.requestAnimationFrame(draw);
  }

  function size(target) {
    const ratio = window.devicePixelRatio || 1;
    if (target.width !== Math.round(view.width * ratio) || target.height !== Math.round(view.height * ratio)) {
      target.width = Math.round(view.width * ratio);
      target.height = Math.round(view.height * ratio);
      target.style.width = `${view.width}px`;
      target.style.height = `${view.height}px`;
    }
    const context = target.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    return context;
  }

  function draw() {
    view.width = element.clientWidth;
    view.height = view.panels.reduce((sum, panel) => sum + panel.height + GAP, 0) + AXIS;
    if (!view.width) return;
    element.style.height = `${view.height}px`;
    const context = size(canvas);
    const colours = palette(element);
    const frame_ = { ...plot(), x, first: view.first, last: view.last };
    let top = GAP;
    for (const panel of view.panels) {
      drawPanel(context, panel, { ...frame_, top, bottom: top + panel.height }, colours);
      panel.top = top;
      top += panel.height + GAP;
    }
    drawAxis(context, { ...frame_, top: GAP, bottom: top - GAP }, colours);
    view.placed = drawMarks(context, view.marks, view.panels[0], { ...frame_, bottom: top - GAP }, colours);
    hover(null);
  }

  function hover(px) {
    const context = size(over);
    const colours = palette(element);
    const bottom = view.height - AXIS;
    if (view.selected && view.selected.epoch >= view.first && view.selected.epoch <= view.last) {
      rule(context, x(view.selected.epoch), bottom, colours.accent, []);
    }
    if (drag && Math.abs(drag.to - drag.from) > 4) {
      context.fillStyle = colours.selection;
      context.fillRect(Math.min(drag.from, drag.to), GAP, Math.abs(drag.to - drag.from), bottom - GAP);
    }
    tip.hidden = px === null;
    if (px === null || !view.panels.length) return;
    rule(context, px, bottom, colours.muted, [3, 3]);
  }

  function rule(context, px, bottom, colour, dash) {
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(Math.round(px) + 0.5, GAP - 6);
    context.lineTo(Math.round(px) + 0.5, bottom);
    context.stroke();
    context.setLineDash([]);
  }

  function point(epoch) {
    const px = x(epoch);
    hover(px);
    show(tip, tell(epoch).map((line) => h("div", {}, line)));
    tip.hidden = false;
    const room = tip.offsetWidth + 16;
    tip.style.transform = `translate(${px + room > view.width ? Math.max(4, px - room) : px + 14}px, ${GAP}px)`;
  }

  function near(px, py) {
    const found = view.placed
      .map((place) => ({ place, distance: Math.hypot(place.x - px, place.y - py) }))
      .filter(({ distance }) => distance <= NEAR)
      .sort((one, other) => one.distance - other.distance)[0];
    return found ? found.place.mark : null;
  }

  const at = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  element.addEventListener("pointermove", (event) => {
    const [px, py] = at(event);
    if (drag) drag.to = Math.min(Math.max(px, plot().left), plot().right);
    const mark = near(px, py);
    element.classList.toggle("pointing", mark !== null);
    point(mark ? mark.epoch : epochAt(px));
  });
  element.addEventListener("pointerleave", () => {
    drag = null;
    hover(null);
  });
  element.addEventListener("pointerdown", (event) => {
    const [px] = at(event);
    if (event.button === 0 && event.pointerType === "mouse") drag = { from: Math.min(Math.max(px, plot().left), plot().right), to: px };
  });
  element.addEventListener("pointerup", () => {
    const dragged = drag && Math.abs(drag.to - drag.from) > 12 ? [epochAt(Math.min(drag.from, drag.to)), epochAt(Math.max(drag.from, drag.to))] : null;
    drag = null;
    if (dragged && dragged[1] - dragged[0] >= 2) {
      element.dataset.dragged = "yes";
      onZoom(dragged);
    }
  });
  element.addEventListener("click", (event) => {
    if (element.dataset.dragged) {
      delete element.dataset.dragged;
      return;
    }
    const [px, py] = at(event);
    if (px < plot().left - 8 || px > plot().right + 8) return;
    onPick(near(px, py) || { epoch: epochAt(px) });
  });
  element.addEventListener("dblclick", () => onZoom(null));
  element.addEventListener("keydown", onKey);
  element.addEventListener("blur", () => hover(null));

  function onKey(event) {
    const shown = view.marks.filter((mark) => mark.epoch >= view.first && mark.epoch <= view.last);
    const middle = cursor >= 0 && shown[cursor] ? shown[cursor].epoch : (view.first + view.last) / 2;
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -shown.length, End: shown.length };
    if (event.key in steps && shown.length) {
      cursor = Math.min(shown.length - 1, Math.max(0, cursor + steps[event.key]));
      point(shown[cursor].epoch);
      announce(`${cursor + 1} of ${shown.length}: ${shown[cursor].words}`);
    } else if (event.key === "Enter" && shown[cursor]) {
      onPick(shown[cursor]);
    } else if (event.key === "+" || event.key === "-") {
      const half = (span() * (event.key === "+" ? 0.25 : 1)) / 1;
      onZoom(event.key === "-" && half >= span() ? null : [Math.max(0, Math.round(middle - half)), Math.round(middle + half)]);
    } else if (event.key === "Escape") {
      hover(null);
    } else {
      return;
    }
    event.preventDefault();
  }

  const watcher = new ResizeObserver(later);
  watcher.observe(element);
  window.addEventListener("tamiyo:theme", later);

  function close() {
    watcher.disconnect();
    window.removeEventListener("tamiyo:theme", later);
    window.cancelAnimationFrame(frame);
  }

  return { element, setData, select, close, places: () => view.placed };
}
