// What people want to remember of a run.

import { addNote, getNotes } from "./api.js";
import { announce, h, show } from "./dom.js";
import { exact, whole } from "./format.js";

export function notesPart(id) {
  const list = h("ul", { class: "notes" });
  const text = h("textarea", { id: "note-text", rows: 2, maxlength: 2000, required: true });
  const by = h("input", { id: "note-by", type: "text", maxlength: 128, autocomplete: "name" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const form = h(
    "form",
    { class: "note-form", on: { submit } },
    h("label", { for: "note-text" }, h("span", {}, "Note"), text),
    h("label", { for: "note-by" }, h("span", {}, "Your name (optional)"), by),
    h("button", { type: "submit" }, "Add note"),
    wrong,
  );
  const element = h("section", { class: "card", "aria-label": "Notes" }, h("div", { class: "card-head" }, h("h2", {}, "Notes")), list, form);
  let before = "";

  async function refresh() {
    const { items } = await getNotes(id);
    const now = JSON.stringify(items);
    if (now === before) return;
    before = now;
    show(list, items.map(item));
  }

  async function submit(event) {
    event.preventDefault();
    wrong.textContent = "";
    const who = by.value.trim();
    try {
      await addNote(id, who ? { text: text.value, by: who } : { text: text.value });
      text.value = "";
      announce("The note is added.");
      await refresh();
    } catch (error) {
      wrong.textContent = error.message;
    }
  }

  function item(note) {
    const where = note.last_epoch === null ? "before the first epoch" : `epoch ${whole(note.last_epoch)}`;
    return h("li", {}, h("p", {}, note.text), h("small", { class: "muted" }, `${note.by ? `${note.by} · ` : ""}${where} · ${exact(note.at)}`));
  }

  return { element, refresh };
}
