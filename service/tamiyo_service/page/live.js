// Live streams: one connection for what is on the screen, none while nobody looks.

import { getSession } from "./api.js";

let allowed = true;

/** Says whether there are streams for whoever uses the page. */
export function setLive(yes) {
  allowed = yes;
}

const STREAM_ENDS = ["dropped", "closing", "gone"];
const FIRST_PAUSE = 2000;
const LONGEST_PAUSE = 30000;
const LONGEST_REST = 10000;

/**
 * Follows a stream until the returned function is called.
 *
 * @param {string} url of the stream, with its filters
 * @param {string[]} types that are told of
 * @param {(event: object) => void} onEvent gets every event's data
 * @param {(state: "live" | "waiting" | "paused" | "gone") => void} onState
 * @param {() => void} onGap something may have been missed: read everything again
 */
export function follow(url, types, onEvent, onState, onGap) {
  let source = null;
  let lastId = null;
  let pause = FIRST_PAUSE;
  let timer = 0;
  let ended = false;

  function open() {
    window.clearTimeout(timer);
    if (ended || source || document.hidden) return;
    if (!allowed) {
      onState("paused");
      return;
    }
    const place = lastId === null ? "" : `${url.includes("?") ? "&" : "?"}since_id=${encodeURIComponent(lastId)}`;
    source = new EventSource(url + place);
    source.addEventListener("open", () => {
      pause = FIRST_PAUSE;
      onState("live");
      // Between the page's first answers and the stream's beginning something may have happened.
      if (lastId === null) onGap();
    });
    source.addEventListener("error", () => later());
    for (const type of types) source.addEventListener(type, take);
    source.addEventListener("skipped", (event) => {
      lastId = event.lastEventId || lastId;
      onGap();
    });
    for (const type of STREAM_ENDS) {
      source.addEventListener(type, () => {
        if (type === "gone") {
          stop();
          onState("gone");
        } else {
          later();
        }
      });
    }
  }

  function take(event) {
    lastId = event.lastEventId || lastId;
    onEvent(JSON.parse(event.data));
  }

  function later() {
    close();
    if (ended || document.hidden) return;
    onState("waiting");
    // A stream does not say why it is refused; the session does.
    getSession().catch(() => {});
    timer = window.setTimeout(open, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  function look() {
    if (document.hidden) {
      close();
      window.clearTimeout(timer);
      onState("paused");
    } else {
      open();
    }
  }

  function stop() {
    ended = true;
    close();
    window.clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  }

  document.addEventListener("visibilitychange", look);
  open();
  return stop;
}

/** Calls `work` soon after it was asked for, never twice at a time, and rests in between. */
export function throttled(work, rest) {
  let wanted = false;
  let running = false;
  let stopped = false;

  async function go() {
    if (running || !wanted || stopped) return;
    running = true;
    wanted = false;
    const began = performance.now();
    try {
      await work();
    } finally {
      // What takes the service long is asked for seldom.
      const pause = Math.max(rest, Math.min(LONGEST_REST, 3 * (performance.now() - began)));
      window.setTimeout(() => {
        running = false;
        go();
      }, pause);
    }
  }

  return {
    ask() {
      wanted = true;
      go();
    },
    stop() {
      stopped = true;
    },
  };
}
