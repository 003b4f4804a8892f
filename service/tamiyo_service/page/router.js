// Places of the page: /, /ui/runs/{id}, /ui/replay/{id} and /ui/compare/{a}/{b}. Each survives a reload and can be passed on.

const PLACES = [
  { name: "fleet", pattern: /^\/(?:ui\/?)?$/ },
  { name: "run", pattern: /^\/ui\/runs\/([^/]+)$/ },
  { name: "replay", pattern: /^\/ui\/replay\/([^/]+)$/ },
  { name: "compare", pattern: /^\/ui\/compare\/([^/]+)\/([^/]+)$/ },
];

export const toRun = (id, extra = "") => `/ui/runs/${encodeURIComponent(id)}${extra}`;
export const toReplay = (id, extra = "") => `/ui/replay/${encodeURIComponent(id)}${extra}`;
export const toCompare = (one, other) => `/ui/compare/${encodeURIComponent(one)}/${encodeURIComponent(other)}`;

/** The place that the address names: its name, the ids in it, and its parameters. */
export function here() {
  const { pathname, search } = window.location;
  for (const { name, pattern } of PLACES) {
    const found = pattern.exec(pathname);
    if (found) return { name, ids: found.slice(1).map(decode), parameters: new URLSearchParams(search) };
  }
  return { name: "nowhere", ids: [], parameters: new URLSearchParams() };
}

/** Goes to another place without loading the page again. */
export function go(url) {
  window.history.pushState(null, "", url);
  window.dispatchEvent(new Event("tamiyo:moved"));
}

/** Changes the parameters of this place; the way back skips it. */
export function amend(parameters) {
  const text = parameters.toString();
  window.history.replaceState(null, "", window.location.pathname + (text ? `?${text}` : ""));
}

/** Calls `arrive` whenever the place changes. */
export function onMove(arrive) {
  window.addEventListener("tamiyo:moved", arrive);
  window.addEventListener("popstate", arrive);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-go]") : null;
    const plain = !(event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    if (link && plain) {
      event.preventDefault();
      go(link.getAttribute("href"));
    }
  });
}

function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
