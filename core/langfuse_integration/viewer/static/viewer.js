// What the pages can do beyond links: parts are fetched in place, keys move about, and what is recorded appears.
// Nothing here is needed to read a session.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- parts

async function page(address) {
  const answer = await fetch(address, { credentials: "omit" });
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.ok) throw new Error(String(answer.status));
  return found;
}

async function fill(details) {
  const ask = $(":scope > .ask[data-from], :scope > .tree > .ask[data-from]", details);
  if (!ask || ask.dataset.busy) return;
  ask.dataset.busy = "1";
  try {
    const part = await page(ask.dataset.from);
    ask.replaceWith(...part.body.childNodes);
  } catch {
    delete ask.dataset.busy;
    say("It could not be loaded: is the viewer still running?");
  }
}

async function append(more) {
  const part = await page(more.dataset.more);
  const rows = $$(".row", part), list = more.previousElementSibling, next = $(".more[data-more]", part);
  list.append(...rows);
  dress(list);
  list.dataset.pages = String(Number(list.dataset.pages || 1) + 1);
  if (next) more.replaceWith(next); else more.remove();
  if (rows[0]) $("summary", rows[0]).focus();
}

document.addEventListener("toggle", (event) => {
  if (!event.target.open) return;
  const row = event.target.matches("[data-row]");
  if (row && wide.matches) $$("[data-row][open]").forEach((other) => { if (other !== event.target) other.open = false; });
  fill(event.target).then(() => dress(event.target));
}, true);

// -- on a wide screen: the steps on the left, one step on the right

const wide = matchMedia("(min-width: 1320px)");

function split() {
  document.documentElement.classList.toggle("split", wide.matches && Boolean($(".turns")));
}

// -- buttons that need a script: copy a value, fold a branch

function button(text, label, pressed) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", (event) => {
    event.preventDefault();
    event.stopPropagation();
    pressed(made);
  });
  return made;
}

function dress(within) {
  for (const value of $$(".value", within)) {
    const title = $("h4", value);
    if (!title || $("button", title)) continue;
    const made = button("copy", `copy ${title.textContent}`, () => copy(value));
    made.className = "copy";
    title.append(" ", made);
  }
  for (const row of $$(".row", within)) {
    if (!below(row).length || $(".fold", row)) continue;
    const made = button("−", "fold the steps below", () => branch(row));
    made.className = "fold";
    $(".what", row).prepend(made);
  }
}

async function copy(value) {
  const exact = $(".raw pre", value) || $("pre", value);
  try {
    await navigator.clipboard.writeText((exact || value).textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(exact || value);
    say("Selected: the browser does not let a page copy here.");
  }
}

// The rows below one, which are flat in the page.
function below(row) {
  const rows = [], depth = Number(row.dataset.depth);
  for (let next = row.nextElementSibling; next && Number(next.dataset.depth) > depth; next = next.nextElementSibling) rows.push(next);
  return rows;
}

function branch(row) {
  if (!row) return;
  const folded = row.classList.toggle("folded"), made = $(".fold", row);
  if (made) {
    made.textContent = folded ? "+" : "−";
    made.setAttribute("aria-label", `${folded ? "show" : "fold"} the steps below`);
  }
  let inner = -1;  // the depth of a folded branch inside of this one
  for (const one of below(row)) {
    const depth = Number(one.dataset.depth);
    if (inner >= 0 && depth <= inner) inner = -1;
    one.hidden = folded || inner >= 0;
    if (inner < 0 && one.classList.contains("folded")) inner = depth;
  }
}

// -- to what matters

function reach(row) {
  const steps = row.closest("details.steps");
  if (steps) steps.open = true;
  for (const above of $$(".row.folded")) if (below(above).includes(row)) branch(above);
  $("summary", row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "center" });
}

function nextError() {
  const rows = $$(".row").filter((row) => $("summary .level.error", row)), here = document.activeElement.closest(".row");
  const next = rows.find((row) => here && here.compareDocumentPosition(row) & Node.DOCUMENT_POSITION_FOLLOWING) || rows[0];
  if (next) reach(next); else say("No step on this page has an error.");
}

function slowest() {
  const rows = $$(".row").filter((row) => !below(row).length);
  const row = rows.reduce((one, other) => !one || Number(other.dataset.took) > Number(one.dataset.took) ? other : one, null);
  if (row) reach(row);
}

document.addEventListener("click", (event) => {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const more = event.target.closest("a") && event.target.closest(".more[data-more]");
  if (more) {
    event.preventDefault();
    append(more).catch(() => say("It could not be loaded: is the viewer still running?"));
  } else if (event.target.closest("[data-help]")) {
    $("[data-keys]").showModal();
  }
});

function say(text) {
  $("[data-status]").textContent = text;
}

// -- from an act to its think

function light(event, on) {
  const act = event.target.closest?.("summary[data-think]");
  const think = act && document.getElementById(act.dataset.think);
  if (think) think.classList.toggle("lit", on);
}
for (const [name, on] of [["mouseover", true], ["mouseout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(name, (event) => light(event, on));
}

// -- where an address leads

async function arrive() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const steps = target.closest("details.steps");
  if (steps) steps.open = true;
  target.scrollIntoView({ block: "center" });
  if (target.classList.contains("row")) {
    const details = $("details", target);
    await fill(details);
    details.open = true;
    $("summary", target).focus({ preventScroll: true });
    target.scrollIntoView({ block: "center" });
  }
}
addEventListener("hashchange", arrive);

// -- keys

const STOPS = ".go, .turns summary, .more a, .pages a";

function move(by) {
  const stops = $$(STOPS).filter((one) => one.checkVisibility());
  const here = stops.indexOf(document.activeElement.closest(STOPS));
  const next = stops[here < 0 ? (by > 0 ? 0 : stops.length - 1) : here + by];
  if (next) {
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, textarea, select, dialog");
  if (event.key === "Escape" && typing?.matches("input")) typing.blur();
  if (event.key === "Escape" && !typing) $$(".split [data-row][open]").forEach((row) => { row.open = false; });
  if (typing) return;
  const act = { e: nextError, s: slowest, c: () => branch(document.activeElement.closest(".row")), j: () => move(1), k: () => move(-1), "/": () => $("[data-search]")?.focus(), "?": () => $("[data-keys]").showModal() }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

// -- what is recorded meanwhile

let wanted = false, busy = false;

async function refresh() {
  wanted = true;
  if (busy || document.hidden) return;
  busy = true;
  while (wanted && !document.hidden) {
    wanted = false;
    try {
      const found = await page(location.pathname + location.search);
      await take(found);
    } catch {
      // it comes again with the next change
    }
    await new Promise((done) => setTimeout(done, 400));
  }
  busy = false;
}

async function take(found) {
  const focused = place(document.activeElement);
  for (const name of ["facts", "pages", "sessions"]) {
    const before = $(`[data-live="${name}"]`), now = $(`[data-live="${name}"]`, found);
    if (before && now && before.innerHTML !== now.innerHTML) before.replaceChildren(...now.childNodes);
  }
  const turns = $('[data-live="turns"]');
  if (turns) {
    const known = new Set();
    for (const now of $$(".turn", found)) {
      known.add(now.id);
      const before = document.getElementById(now.id);
      if (!before) turns.append(now);
      else if (before.dataset.version !== now.dataset.version) await renew(before, now);
    }
    for (const gone of $$(".turn", turns)) if (!known.has(gone.id)) gone.remove();
  }
  if (focused && document.activeElement === document.body) $(focused)?.focus({ preventScroll: true });
}

// How to find again what has the focus, after its surroundings were made anew.
function place(element) {
  const row = element.closest("[data-row]"), steps = element.closest("[data-trace]");
  if (row && element.matches("summary")) return `[data-row="${row.dataset.row}"] > summary`;
  if (steps && element.matches("summary")) return `[data-trace="${steps.dataset.trace}"] > summary`;
  return element.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : "";
}

// Put a turn's new state in the place of its old one, and leave open what was open.
async function renew(before, now) {
  const old = $("details.steps", before), steps = $("details.steps", now);
  steps.open = old.open;
  const list = $(".rows", old);
  if (list) {
    await complete(steps, Number(list.dataset.pages || 1), $(".ask[data-from]", steps)?.dataset.from);
    const rows = new Map($$("[data-row]", steps).map((row) => [row.dataset.row, row]));
    for (const row of $$("[data-row][open]", old)) {
      const same = rows.get(row.dataset.row);
      if (!same) continue;
      const [, ...content] = row.children;
      $$(":scope > :not(summary)", same).forEach((one) => one.remove());
      same.append(...content);
      same.open = true;
    }
  }
  before.replaceWith(now);
  dress(now);
}

async function complete(steps, pages, from) {
  if (from) await fill(steps);
  for (let count = 1; count < pages; count += 1) {
    const more = $(".more[data-more]", steps);
    if (!more) return;
    const part = await page(more.dataset.more), next = $(".more[data-more]", part), list = $(".rows", steps);
    list.append(...$$(".row", part));
    list.dataset.pages = String(count + 1);
    if (next) more.replaceWith(next); else more.remove();
  }
}

if ($("[data-live]")) {
  const stream = new EventSource("/events");
  stream.addEventListener("changed", refresh);
  let opened = false;
  stream.addEventListener("open", () => {
    if (opened) refresh();
    opened = true;
  });
  document.addEventListener("visibilitychange", () => wanted && refresh());
}

for (const help of $$("[data-help]")) help.hidden = false;
wide.addEventListener("change", split);
split();
dress(document);
arrive();
