// What the page asks of the service.

/** A refusal of the service: what is wrong, and what would be right. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || `the service answered ${status}`);
    this.status = status;
    this.code = problem.code || "";
  }
}

/** A path out of segments, each escaped. */
export function path(...segments) {
  return `/${segments.map(encodeURIComponent).join("/")}`;
}

/** Parameters as a query string; what is empty is left out, lists are repeated. */
export function query(parameters) {
  const chosen = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) chosen.append(name, one);
    }
  }
  const text = chosen.toString();
  return text ? `?${text}` : "";
}

/**
 * The service's answer as data. Throws a Refusal, or what `fetch` throws where nobody answers.
 *
 * Whenever nobody is signed in who has to be, the window hears of it (`tamiyo:signed-out`).
 */
export async function ask(url, { method = "GET", body, signal } = {}) {
  // Pages of other origins cannot send this header: by it the service tells them from this one.
  const headers = { accept: "application/json", "tamiyo-page": "1" };
  const request = { method, signal, headers, cache: "no-store" };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["content-type"] = "application/json";
  }
  const response = await fetch(url, request);
  const text = await response.text();
  // Diverged trainings have losses that JSON has no number for; the service sends them as strings.
  const data = text ? JSON.parse(text) : null;
  const signingIn = method === "POST" && url === "/session";
  if (response.status === 401 && !signingIn) window.dispatchEvent(new Event("tamiyo:signed-out"));
  if (!response.ok) throw new Refusal(response.status, data || {});
  return data;
}

export const getSession = () => ask("/session");
export const signIn = (key) => ask("/session", { method: "POST", body: { key } });
export const signOut = () => ask("/session", { method: "DELETE" });
export const getRun = (id, signal) => ask(path("runs", id), { signal });
export const getSeries = (id, wanted, signal) => ask(path("runs", id, "series") + query(wanted), { signal });
export const getFleet = (wanted, signal) => ask(`/fleet${query(wanted)}`, { signal });
export const getPolicies = () => ask("/policies");
export const getDecision = (id, epoch, attempt, signal) =>
  ask(path("runs", id, "decisions", epoch) + query({ attempt }), { signal });
export const getDecisions = (id, wanted, signal) => ask(path("runs", id, "decisions") + query(wanted), { signal });
export const getFieldReports = (id, wanted, signal) =>
  ask(path("runs", id, "field-reports") + query(wanted), { signal });
export const getNotes = (id, signal) => ask(path("runs", id, "notes") + query({ limit: 50 }), { signal });
export const askReplay = (id, body, signal) => ask(path("runs", id, "replay"), { method: "POST", body, signal });
export const hold = (id, reason) => ask(path("runs", id, "hold"), { method: "PUT", body: { reason } });
export const release = (id) => ask(path("runs", id, "hold"), { method: "DELETE" });
export const addNote = (id, note) => ask(path("runs", id, "notes"), { method: "POST", body: note });
export const setLabels = (id, labels) => ask(path("runs", id, "labels"), { method: "PUT", body: { labels } });
