// The page: which place is shown, and the bar above it.

import { comparePlace } from "./compare.js";
import { h, show } from "./dom.js";
import { fleetPlace } from "./fleet.js";
import { replayPlace } from "./replay.js";
import { here, onMove } from "./router.js";
import { runPlace } from "./run.js";
import { startSession } from "./session.js";

const PLACES = { fleet: fleetPlace, run: runPlace, replay: replayPlace, compare: comparePlace, nowhere };
const NEXT = { system: "light", light: "dark", dark: "system" };
const content = document.getElementById("content");
const corner = h("div", { class: "corner" });
let leave = () => {};
let signedOut = false;

function nowhere(place) {
  show(
    place,
    h("section", { class: "empty" }, h("h1", {}, "There is nothing here"), h("p", {}, h("a", { href: "/", "data-go": true }, "Go to the fleet"))),
  );
  return () => {};
}

function arrive(first) {
  leave();
  const { name, ids, parameters } = here();
  const place = h("div", { class: `place place-${name}` });
  show(content, place);
  window.scrollTo(0, 0);
  document.title = ids.length ? `${ids.join(" · ")} — Tamiyo` : "Fleet — Tamiyo";
  leave = PLACES[name](place, ids, parameters) || (() => {});
  if (first !== true) content.focus({ preventScroll: true });
}

function themeButton() {
  const root = document.documentElement;
  const current = () => root.dataset.theme || "system";
  const button = h("button", { class: "quiet", type: "button", id: "theme", on: { click: turn } });
  function label() {
    const name = current();
    button.textContent = { system: "◐ System", light: "○ Light", dark: "● Dark" }[name];
    button.setAttribute("aria-label", `Theme: ${name}. Switch to ${NEXT[name]}.`);
  }
  function turn() {
    const next = NEXT[current()];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("tamiyo-theme", next);
    } catch {
      // It lasts until the page is left.
    }
    label();
    window.dispatchEvent(new Event("tamiyo:theme"));
  }
  label();
  return button;
}

window
  .matchMedia("(prefers-color-scheme: dark)")
  .addEventListener("change", () => window.dispatchEvent(new Event("tamiyo:theme")));
show(
  document.getElementById("bar"),
  h("a", { href: "/", class: "brand", "data-go": true }, h("span", { class: "leaf", "aria-hidden": "true" }), "Tamiyo"),
  h(
    "nav",
    { "aria-label": "Places" },
    h("a", { href: "/", "data-go": true }, "Fleet"),
    h("a", { href: "/docs", class: "wide-only" }, "HTTP interface"),
  ),
  corner,
  themeButton(),
);

function signInPlace() {
  leave();
  leave = () => {};
  signedOut = true;
  return content;
}

function enter() {
  signedOut = false;
  arrive(true);
}

onMove(() => {
  if (!signedOut) arrive();
});
startSession(corner, enter, signInPlace).then(() => {
  if (!signedOut) arrive(true);
});
