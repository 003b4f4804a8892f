// A dialog to choose another run.

import { getFleet } from "./api.js";
import { h, show } from "./dom.js";
import { measured } from "./format.js";
import { sparkline } from "./parts.js";

export function pickRun(id, picked) {
  const results = h("ul", { class: "results", "aria-label": "Runs" });
  const search = h("input", { type: "search", id: "pick-search", placeholder: "Part of a run's name", autocomplete: "off", spellcheck: "false" });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "pick-title", class: "pick" },
    h("h2", { id: "pick-title" }, "Compare with"),
    h("label", { for: "pick-search" }, h("span", {}, "Search"), search),
    results,
    h("div", { class: "buttons" }, h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel")),
  );
  let asked = 0;

  async function look() {
    const mine = (asked += 1);
    try {
      const page = await getFleet({ search: search.value.trim(), limit: 20 });
      if (mine !== asked) return;
      const others = page.items.filter((run) => run.run_id !== id);
      show(results, others.length ? others.map(item) : h("li", { class: "muted" }, "No other run."));
    } catch (error) {
      if (mine === asked) show(results, h("li", { class: "wrong" }, error.message));
    }
  }

  function item(run) {
    const choose = () => {
      dialog.close();
      picked(run.run_id);
    };
    return h(
      "li",
      {},
      h("button", { type: "button", class: "result", on: { click: choose } }, h("span", { class: "run-id" }, run.run_id), sparkline(run.sparkline, { width: 80, height: 22 }), h("span", { class: "number" }, measured(run.latest, run.measure))),
    );
  }

  search.addEventListener("input", look);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  search.focus();
  look();
}
