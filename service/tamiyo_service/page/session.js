// Who uses the page. Where the service requires keys, one is exchanged for a session, which no script can read.

import { getSession, signIn, signOut } from "./api.js";
import { announce, h, setText, show } from "./dom.js";
import { setLive } from "./live.js";

/**
 * Finds out who uses the page, and shows it in the bar; resolves once that is known, or nobody answers.
 *
 * @param {HTMLElement} corner of the bar
 * @param {() => void} onEnter somebody has signed in, so that everything is to be read
 * @param {() => HTMLElement} place leaves what is shown, and tells where the form goes
 */
export function startSession(corner, onEnter, place) {
  let asking = false;

  function greet(session) {
    asking = false;
    setLive(session.scope !== "trainer");
    if (!session.required) {
      show(corner);
      return;
    }
    const runs = session.prefixes.map((prefix) => ` ${prefix}…`).join("");
    const wrong = h("span", { class: "wrong", role: "alert" });
    show(
      corner,
      wrong,
      h("span", { class: "muted wide-only", title: `Key of scope ${session.scope}${runs && `, for runs${runs}`}` }, session.name),
      h("button", { class: "quiet", type: "button", on: { click: () => leave(wrong) } }, "Sign out"),
    );
  }

  async function leave(wrong) {
    try {
      await signOut();
    } catch {
      // The cookie is still there, and no script can take it away.
      setText(wrong, "You are still signed in: the service does not answer.");
      return;
    }
    form();
  }

  function form() {
    if (asking) return;
    asking = true;
    show(corner);
    document.title = "Sign in — Tamiyo";
    const key = h("input", { id: "key", type: "password", maxlength: 256, required: true, autocomplete: "current-password" });
    const wrong = h("p", { class: "wrong", role: "alert" });
    show(
      place(),
      h(
        "section",
        { class: "card sign-in", "aria-label": "Sign in" },
        h("h1", {}, "Sign in"),
        h("p", { class: "muted" }, "This service asks for a key. “tamiyo keys create” makes one."),
        h(
          "form",
          { class: "note-form", on: { submit: (event) => enter(event, key, wrong) } },
          h("label", { for: "key" }, h("span", {}, "API key"), key),
          h("button", { type: "submit", class: "primary" }, "Sign in"),
          wrong,
        ),
      ),
    );
    key.focus();
  }

  async function enter(event, key, wrong) {
    event.preventDefault();
    setText(wrong, "");
    try {
      const session = await signIn(key.value.trim());
      key.value = "";
      greet(session);
      announce("You are signed in.");
      onEnter();
    } catch (error) {
      setText(wrong, error.status ? error.message : "The service does not answer.");
    }
  }

  window.addEventListener("tamiyo:signed-out", form);
  // Who does not answer now may answer the place's own questions; a refusal has shown the form.
  return getSession().then(greet, () => {});
}
