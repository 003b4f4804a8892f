// The fleet: every run in one list, however many there are. Only rows in sight are in the document.

import { getFleet, getPolicies, query } from "./api.js";
import { announce, h, setText, show } from "./dom.js";
import { whole } from "./format.js";
import { fleetRow } from "./fleet_row.js";
import { follow, throttled } from "./live.js";
import { liveSign, trouble } from "./parts.js";
import { amend } from "./router.js";

const PAGE = 100;
const BEYOND = 8;
const EVENTS = ["decision", "hold", "release", "complete", "rewind", "labels"];
const FILTERS = ["search", "status", "policy", "action", "label"];

export function fleetPlace(place, _ids, parameters) {
  const wanted = Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name) || ""]));
  const pages = [];
  const rows = new Map();
  const dirty = new Set();
  let offset = 0;
  let loading = null;
  let aborter = new AbortController();

  const count = h("p", { class: "count", "aria-live": "polite" }, " ");
  const live = liveSign();
  const list = h("div", { class: "rows", role: "list", "aria-label": "Runs" });
  const note = h("div", { class: "list-note" });
  show(
    place,
    h("div", { class: "heading" }, h("div", {}, h("h1", {}, "Fleet"), count), live.sign),
    filterBar(wanted, begin),
    h("div", { class: "columns", "aria-hidden": "true" }, ["Run", "Progress", "Curve", "Latest", "Last decision", "Report"].map((name) => h("span", {}, name))),
    list,
    note,
  );

  const runs = () => pages.flatMap((page) => page.items);

  function asked(cursor) {
    const { status, ...rest } = wanted;
    const chosen = status === "SILENT" ? { silent: true } : { status };
    return getFleet({ ...rest, ...chosen, limit: PAGE, cursor }, aborter.signal);
  }

  async function begin() {
    aborter.abort();
    aborter = new AbortController();
    loading = null;
    amend(new URLSearchParams(query(wanted)));
    await more(true);
  }

  /** Loads the next page; from the beginning, the old rows stay until the new ones are there. */
  async function more(afresh = false) {
    const last = pages.at(-1);
    if (loading || (!afresh && last && last.next_cursor === null)) return;
    const cursor = afresh || !last ? null : last.next_cursor;
    const mine = (loading = {});
    try {
      const page = await asked(cursor);
      if (mine !== loading) return;
      if (afresh) pages.length = 0;
      pages.push({ ...page, cursor });
      offset = Date.parse(page.now) - Date.now();
      loading = null;
      tell();
      draw();
      if (!page.items.length && page.next_cursor !== null) await more();
    } catch (error) {
      if (error.name === "AbortError") return;
      loading = null;
      show(note, trouble(error, () => more(afresh)));
    }
  }

  function tell() {
    const known = runs().length;
    const open = pages.at(-1)?.next_cursor !== null;
    setText(count, `${whole(known)}${open ? "+" : ""} ${known === 1 ? "run" : "runs"}`);
    const filtered = FILTERS.some((name) => wanted[name]);
    const words = filtered ? "No run passes these filters." : "No run has reported yet. A trainer's first report makes one appear here.";
    show(note, known ? (open ? h("p", {}, "Loading more …") : null) : h("p", { class: "empty" }, words));
  }

  /** Puts the rows in sight into the document, and leaves the others out. */
  function draw() {
    const all = runs();
    const height = parseFloat(getComputedStyle(list).getPropertyValue("--row")) || 64;
    const top = list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height) - BEYOND);
    const last = Math.min(all.length, Math.ceil((window.innerHeight - top) / height) + BEYOND);
    list.style.height = `${all.length * height}px`;
    const seen = new Set();
    for (let index = first; index < last; index += 1) {
      const run = all[index];
      seen.add(run.run_id);
      let row = rows.get(run.run_id);
      if (!row) {
        row = fleetRow(run);
        rows.set(run.run_id, row);
        list.append(row.element);
      }
      row.element.setAttribute("aria-posinset", index + 1);
      row.element.setAttribute("aria-setsize", all.length);
      row.element.style.transform = `translateY(${index * height}px)`;
      row.update(run, Date.now() + offset);
    }
    for (const [id, row] of rows) {
      const kept = seen.has(id) || row.element.contains(document.activeElement);
      if (!kept || !all.some((run) => run.run_id === id)) {
        row.element.remove();
        rows.delete(id);
      }
    }
    order(all, first, last);
    if (last > all.length - BEYOND) more();
  }

  /** Rows stand in the document as on the screen, so that the keyboard goes through them in order. */
  function order(all, first, last) {
    let before = null;
    for (let index = first; index < last; index += 1) {
      const element = rows.get(all[index].run_id).element;
      if ((before ? before.nextElementSibling : list.firstElementChild) !== element && !element.contains(document.activeElement)) {
        if (before) before.after(element);
        else list.prepend(element);
      }
      before = element;
    }
  }

  /** Asks again for the pages that show a run something happened to. */
  async function refresh() {
    if (loading || !pages.length) return;
    const changed = new Set(dirty);
    dirty.clear();
    const known = new Set(runs().map((run) => run.run_id));
    const stale = pages.filter(
      (page, index) => (index === 0 && [...changed].some((id) => !known.has(id))) || page.items.some((run) => changed.has(run.run_id) && rows.has(run.run_id)),
    );
    try {
      for (const page of stale) {
        const fresh = await asked(page.cursor);
        if (!pages.includes(page)) return;
        merge(page, fresh);
        offset = Date.parse(fresh.now) - Date.now();
      }
    } catch (error) {
      if (error.name !== "AbortError") return;
    }
    tell();
    draw();
  }

  function merge(page, fresh) {
    const elsewhere = new Set(pages.filter((other) => other !== page).flatMap((other) => other.items.map((run) => run.run_id)));
    page.items = fresh.items.filter((run) => !elsewhere.has(run.run_id));
    // What moved on to the next page is still known there, or comes with it.
    if (pages.at(-1) === page) page.next_cursor = fresh.next_cursor;
    else if (pages.indexOf(page) === 0) keepMoved(page, fresh);
  }

  function keepMoved(page, fresh) {
    const next = pages[1];
    if (fresh.next_cursor !== null && fresh.next_cursor !== next.cursor) begin();
  }

  const refreshing = throttled(refresh, 1000);
  const stop = follow(
    `/events${query({ type: EVENTS })}`,
    EVENTS,
    (event) => {
      dirty.add(event.run_id);
      refreshing.ask();
    },
    (state) => live.set(state),
    () => {
      for (const id of rows.keys()) dirty.add(id);
      refreshing.ask();
    },
  );
  const ticking = window.setInterval(draw, 5000);
  let frame = 0;
  const onScroll = () => {
    window.cancelAnimationFrame(frame);
    frame = window.requestAnimationFrame(draw);
  };
  window.addEventListener("scroll", onScroll, { passive: true });
  window.addEventListener("resize", onScroll);
  begin().then(() => announce(count.textContent));
  return () => {
    stop();
    refreshing.stop();
    aborter.abort();
    window.clearInterval(ticking);
    window.removeEventListener("scroll", onScroll);
    window.removeEventListener("resize", onScroll);
  };
}

function filterBar(wanted, changed) {
  let timer = 0;
  const soon = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(changed, 200);
  };
  const text = (name, label, hint) => {
    const input = h("input", { type: "search", name, placeholder: hint, autocomplete: "off", spellcheck: "false" });
    input.value = wanted[name];
    input.addEventListener("input", () => {
      const value = input.value.trim();
      const whole_ = name !== "label" || value === "" || /^[^:]+:/.test(value);
      input.setAttribute("aria-invalid", String(!whole_));
      if (!whole_) return;
      wanted[name] = value;
      soon();
    });
    return h("label", { class: `filter ${name}` }, h("span", {}, label), input);
  };
  const choice = (name, label, options) => {
    const select = h("select", { name }, options.map(([value, shown]) => h("option", { value, selected: value === wanted[name] }, shown)));
    select.addEventListener("change", () => {
      wanted[name] = select.value;
      changed();
    });
    return { select, element: h("label", { class: `filter ${name}` }, h("span", {}, label), select) };
  };
  const policy = choice("policy", "Policy", [["", "Any"], ...(wanted.policy ? [[wanted.policy, wanted.policy]] : [])]);
  getPolicies()
    .then(({ items }) => {
      const names = [...new Set(items.map((item) => item.name))].filter((name) => name !== wanted.policy);
      policy.select.append(...names.map((name) => h("option", { value: name }, name)));
    })
    .catch(() => {
      // The list of runs tells that the service does not answer.
    });
  return h(
    "form",
    { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    text("search", "Search", "Part of a run's name"),
    choice("status", "Status", [["", "Any"], ["ACTIVE", "Active"], ["HELD", "Held"], ["SILENT", "Gone silent"], ["COMPLETED", "Completed"]]).element,
    policy.element,
    choice("action", "Last decision", [["", "Any"], ["GERMINATE", "Germinate"], ["FOSSILIZE", "Fossilize"], ["CULL", "Cull"], ["WAIT", "None yet"]]).element,
    text("label", "Label", "key:value"),
  );
}
