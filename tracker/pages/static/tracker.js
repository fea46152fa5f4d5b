/* What a page does beside htmx: local times, counting clocks, copying, keys, and the state of the live stream.
   Every page is complete without it. */
"use strict";
(() => {
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const $ = (selector) => document.querySelector(selector);
  const store = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };

  // -- times: the server writes UTC; people choose between that and their own zone
  const zones = { local: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC", utc: "UTC" };
  let zone = store.get("tracker-zone") === "utc" ? "utc" : "local";
  const two = (n) => String(n).padStart(2, "0");
  const span = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const left = (element, now) => {
    const seconds = (new Date(element.dateTime) - now) / 1000;
    return seconds < 0.5 ? "now" : span(seconds);
  };
  const ago = (seconds) => {
    if (seconds < 60) return "now";
    for (const [unit, factor] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= factor) return `${Math.floor(seconds / factor)} ${unit} ago`;
    }
    return "now";
  };
  const parts = (date) => Object.fromEntries(new Intl.DateTimeFormat("en-GB", {
    timeZone: zones[zone], year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  }).formatToParts(date).map((part) => [part.type, part.value]));
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  const showTimes = (root = document) => {
    const now = Date.now();
    for (const element of all("time[data-time]", root)) {
      const date = new Date(element.dateTime);
      const p = parts(date);
      const clock = `${p.hour}:${p.minute}:${p.second}`;
      const full = `${p.year}-${p.month}-${p.day} ${clock} ${zone === "utc" ? "UTC" : ""}`.trim();
      if (element.title !== full) element.title = full;
      const style = element.dataset.time;
      if (style === "ago") write(element, ago((now - date) / 1000));
      else if (style === "clock") write(element, clock);
      else if (style === "minute") write(element, clock.slice(0, 5));
      else if (style === "full") write(element, full);
      else if (style === "title") continue;
      else if (style === "until") write(element, left(element, now));
    }
  };

  // -- what counts on every second: bars, lengths so far, countdowns
  const tick = () => {
    const now = Date.now();
    for (const element of all("[data-since]")) {
      const elapsed = Math.max(0, (now - new Date(element.dataset.since)) / 1000);
      if (element.tagName === "svg") drawBar(element, elapsed);
      else if ("usual" in element.dataset) write(element, `${span(elapsed)} so far${element.dataset.usual}`);
      else write(element, span(elapsed));
    }
    for (const element of all('time[data-time="until"]')) {
      write(element, left(element, now));
    }
  };
  const drawBar = (svg, elapsed) => {
    const p50 = Number(svg.dataset.p50), p90 = Number(svg.dataset.p90);
    const fill = svg.querySelector("rect.fill");
    if (!p90 || !fill) return;
    const full = Math.max(p90 * 1.12, elapsed, 1);
    const set = (element, x, width) => {
      if (!element) return;
      element.setAttribute("x", `${(100 * x / full).toFixed(2)}%`);
      element.setAttribute("width", `${(100 * Math.max(0, width) / full).toFixed(2)}%`);
    };
    set(svg.querySelector("rect.band"), p50, p90 - p50);
    set(fill, 0, svg.querySelector("rect.over") ? Math.min(elapsed, p90) : elapsed);
    set(svg.querySelector("rect.over"), p90, elapsed - p90);
  };

  // -- copying, also on plain http, where there is no navigator.clipboard
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("readonly", "");
    field.className = "sr";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("not copied");
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const source = button.dataset.copy.startsWith("#") ? $(button.dataset.copy)?.textContent ?? "" : button.dataset.copy;
    try { await copy(source); write(button, "copied"); } catch { write(button, "not copied"); }
    setTimeout(() => write(button, "copy"), 1500);
  });

  // -- keys
  const rows = () => [...all(".rows > li")];
  const go = (step) => {
    const list = rows(), at = list.findIndex((row) => row.classList.contains("at"));
    const next = list[Math.min(Math.max(at + step, 0), list.length - 1)];
    if (!next) return;
    list[at]?.classList.remove("at");
    next.classList.add("at");
    next.querySelector(".title")?.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of all("details.menu[open]")) menu.open = false;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const act = {
      "/": () => $("input[type=search]")?.focus(),
      "?": () => $("#keys")?.showModal(),
      j: () => go(1), k: () => go(-1),
      n: () => $("a[data-new]")?.click(),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  // -- the live stream. A browser opens six connections to a host over HTTP/1.1, and a stream keeps one: of many tabs
  // only those that were looked at last have one, so that every tab can load its page.
  const MAX_STREAMS = 4;
  const RETRY_MS = 5000;
  let lastWord = null, parked = false, opened = 0, tryAt = 0;
  const tabs = "BroadcastChannel" in window ? new BroadcastChannel("tracker-live") : null;
  const source = () => $("[hx-sse\\:connect]");
  const clockNow = () => { const p = parts(new Date()); return `${p.hour}:${p.minute}`; };
  const showState = (name, text) => {
    const element = $("#live-state");
    if (!element) return;
    element.hidden = false;
    element.className = `live ${name}`;
    write(element.lastElementChild, text);
  };
  const look = () => {
    const element = source();
    if (!element) return;
    const connection = element._htmx?.sse;
    if (parked || document.hidden) showState("wait", "Paused");
    else if (connection?.reader) showState("", "Live");
    else if (lastWord === null) showState("wait", "Connecting");
    else showState("stale", `Stale since ${lastWord}`);
    if (!connection && !parked && !document.hidden && Date.now() > tryAt) {
      tryAt = Date.now() + RETRY_MS;
      htmx.trigger(element, "wake");
    }
  };
  const wake = () => {
    opened = 0;
    if (!parked) return;
    parked = false;
    tryAt = 0;
    look();
  };
  if (tabs) {
    tabs.onmessage = () => {
      opened += 1;
      if (opened < MAX_STREAMS) return;
      parked = true;
      source()?._htmx?.sse?.reader?.cancel();
      look();
    };
  }
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (parked) event.detail.connection.cancelled = true;
    look();
  });
  document.addEventListener("htmx:sse:after:connection", () => {
    lastWord = clockNow();
    tabs?.postMessage("opened");
    setTimeout(look);
  });
  document.addEventListener("htmx:sse:before:message", () => { lastWord = clockNow(); });
  document.addEventListener("htmx:sse:close", () => setTimeout(look));
  document.addEventListener("visibilitychange", () => { if (document.hidden) look(); else wake(); });
  for (const name of ["focus", "pointermove", "keydown"]) window.addEventListener(name, wake);
  const reload = () => htmx.ajax("GET", location.href, { target: "#main", select: "#main", swap: "outerMorph" });
  document.addEventListener("resync", reload);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("a[data-new]") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    reload();
  });

  // -- after each swap the parts that came are shown in the chosen zone, before they are painted
  const refresh = () => {
    showTimes();
    tick();
    for (const element of all("button[data-copy][hidden]")) element.hidden = false;
  };
  document.addEventListener("htmx:after:swap", () => {
    refresh();
    if ($(".empty a[data-new]")) reload(); // there is no row that new ones could move
  });
  const start = () => {
    const button = $("#zone");
    const named = () => { if (button) write(button, zone === "utc" ? "UTC" : "Local time"); };
    if (button) {
      button.hidden = false;
      button.addEventListener("click", () => {
        zone = zone === "utc" ? "local" : "utc";
        store.set("tracker-zone", zone);
        named();
        showTimes();
      });
    }
    for (const element of all(".keys")) element.hidden = false;
    named();
    refresh();
    tryAt = Date.now() + RETRY_MS;
    setInterval(() => { tick(); look(); }, 1000);
    setInterval(showTimes, 10000);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
