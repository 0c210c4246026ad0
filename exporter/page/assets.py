"""The assets of the page, from its own origin: a style sheet and one script."""

from __future__ import annotations

from typing import Final

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

STYLE: Final = """
:root { color-scheme: light dark;
  --text: #1c2024; --dim: #5f6a75; --line: #d9dee3; --back: #f6f7f9; --card: #fff; --plot: #3867b5;
  --healthy: #1a7f37; --warning: #946200; --critical: #c9252d; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6e9ec; --dim: #9aa5b1; --line: #333a42; --back: #14171a; --card: #1c2025; --plot: #7aa7f0;
  --healthy: #4cc26a; --warning: #e0b03c; --critical: #ff7b76; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
h1 { font-size: 1.25rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.dim, small { color: var(--dim); font-size: .875rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin: .75rem 0; overflow-wrap: anywhere; }
.score { display: flex; align-items: center; gap: 1rem; }
.score b { font-size: 3rem; line-height: 1; font-variant-numeric: tabular-nums; }
.healthy { color: var(--healthy); } .warning { color: var(--warning); } .critical { color: var(--critical); }
.issue { border-left: .25rem solid currentColor; } .issue > h3, .issue > p { color: var(--text); }
.issue h3 { font-size: 1rem; margin: 0 0 .25rem; } .issue p { margin: .25rem 0 0; }
#stale { border-color: var(--critical); }
.wide { overflow-x: auto; padding: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .75rem; border-top: 1px solid var(--line); white-space: nowrap; }
tr:first-child th { border-top: 0; } th { color: var(--dim); font-weight: 500; font-size: .875rem; }
th a { color: inherit; } th a[aria-sort] { color: var(--text); font-weight: 700; }
td.why { white-space: normal; min-width: 14rem; overflow-wrap: anywhere; }
td.name { white-space: normal; min-width: 9rem; max-width: 22rem; overflow-wrap: anywhere; }
td.replica { padding-left: 2rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.badge { border: 1px solid currentColor; border-radius: .75rem; padding: 0 .5rem; font-size: .75rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .875rem; color: var(--dim); }
figcaption b { color: var(--text); font-variant-numeric: tabular-nums; }
svg { width: 100%; height: 3rem; display: block; border-bottom: 1px solid var(--line); }
polyline { fill: none; stroke: var(--plot); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
circle { fill: var(--plot); }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
input, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: .375rem; padding: .35rem .6rem; }
input { min-width: 0; width: 16rem; max-width: 100%; }
:focus-visible { outline: 2px solid var(--plot); outline-offset: 2px; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 2rem; } nav a { color: inherit; }
.pages { margin-top: .5rem; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 34rem) {
  .stack tr { display: grid; grid-template-columns: 2fr 1.5fr 2fr; border-top: 1px solid var(--line); }
  .stack tr:first-child, .stack th, .stack td { border-top: 0; }
  .stack td.why { grid-column: 1 / -1; padding-top: 0; }
  .stack td.why:empty, .stack th:empty, .spare { display: none; }
  th, td { padding: .4rem .5rem; } }
@media (min-width: 60rem) { td.name { min-width: 14rem; } }
"""

SCRIPT: Final = """
"use strict";
(() => {
  const every = 10000;
  let requests = 0;
  let timer = 0;
  const search = () => document.getElementById("search");

  function swap(fresh) {
    const focused = document.activeElement;
    const href = focused && focused.closest("[data-live]") ? focused.getAttribute("href") : null;
    const left = document.querySelectorAll(".wide[id]");
    const scrolled = new Map([...left].map((area) => [area.id, area.scrollLeft]));
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old) old.replaceWith(document.importNode(part, true));
    }
    for (const [id, x] of scrolled) {
      const area = document.getElementById(id);
      if (area) area.scrollLeft = x;
    }
    if (href !== null) {
      const links = [...document.querySelectorAll("[data-live] a")];
      const link = links.find((candidate) => candidate.getAttribute("href") === href);
      if (link) link.focus({ preventScroll: true });
    }
    document.title = fresh.title;
  }

  async function update() {
    const request = ++requests;
    clearTimeout(timer);
    const stale = document.getElementById("stale");
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(15000) });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (request !== requests) return;
      if (!fresh.getElementById("state")) {
        location.reload();
        return;
      }
      swap(fresh);
      stale.hidden = true;
      stale.dataset.since = "";
    } catch {
      if (request !== requests) return;
      const language = document.documentElement.lang;
      if (!stale.dataset.since) stale.dataset.since = new Date().toLocaleTimeString(language);
      stale.querySelector("time").textContent = stale.dataset.since;
      stale.hidden = false;
    }
    timer = setTimeout(update, every);
  }

  function go(url, push) {
    history[push ? "pushState" : "replaceState"](null, "", url);
    update();
  }

  let typing = 0;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const url = new URL(location.href);
      url.searchParams.delete("page");
      if (event.target.value) url.searchParams.set("q", event.target.value);
      else url.searchParams.delete("q");
      go(url, false);
    }, 200);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "find") event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.href, true);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || !search()) return;
    if (event.target.closest("input, textarea")) return;
    event.preventDefault();
    search().focus();
  });
  window.addEventListener("popstate", () => {
    if (search()) search().value = new URL(location.href).searchParams.get("q") || "";
    update();
  });
  if (document.getElementById("state")) timer = setTimeout(update, every);
})();
"""
