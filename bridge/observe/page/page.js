// The live page: takes the stream from /events and shows it. See page.css for how it looks.

import { WORDS } from "./words.js";

// A cookie holds the token by now: an address is seen by whoever looks over one's shoulder.
const here = new URL(location);
if (here.searchParams.has("token")) {
  here.searchParams.delete("token");
  history.replaceState(null, "", here);
}

const asked = [new URLSearchParams(location.search).get("lang"), ...(navigator.languages ?? [navigator.language])];
const lang = asked.map((tag) => String(tag).slice(0, 2).toLowerCase()).find((tag) => Object.hasOwn(WORDS, tag)) ?? "en";
const words = WORDS[lang];
const locale = lang === "pt" ? "pt-BR" : asked.find((tag) => /^en-/i.test(tag)) ?? "en";
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const wordOf = (kind, name) => (Object.hasOwn(words[kind], String(name)) ? words[kind][name] : String(name));

const whole = new Intl.NumberFormat(locale);
const tenth = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const hours = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const timeFormat = new Intl.DateTimeFormat(locale, hours);
const dayFormat = new Intl.DateTimeFormat(locale, { day: "2-digit", month: "2-digit", ...hours });
const order = new Intl.Collator(locale, { numeric: true }).compare;

// ---- Small things ----

const $ = (id) => document.getElementById(id);

/** Write only what differs: an equal text written again would still cost a layout, or be read aloud. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text != null) element.textContent = text;
  return element;
}

let ahead = 0; // how far the server's clock is ahead of the browser's, ms
const serverNow = () => Date.now() + ahead;

function setClock(now) {
  const difference = Date.parse(now) - Date.now();
  // What the network adds from one update to the next must not shake the timers.
  if (Math.abs(difference - ahead) > 500) ahead = difference;
}

function timeOf(stamp) {
  const at = new Date(stamp);
  if (stamp == null || Number.isNaN(at.getTime())) return "–";
  const today = at.toDateString() === new Date(serverNow()).toDateString();
  return (today ? timeFormat : dayFormat).format(at);
}

const two = (number) => String(number).padStart(2, "0");

function elapsed(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const h = Math.floor(s / 3600);
  const rest = `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return h ? `${h}:${rest}` : rest;
}

/** A status is timed to the minute, so that thousands of tiles are not written each second. */
function minutes(seconds) {
  const m = Math.max(0, Math.floor(seconds / 60));
  if (m === 0) return "";
  return m < 60 ? `${m} min` : `${Math.floor(m / 60)} h ${two(m % 60)}`;
}

// ---- Agents ----

const STATUSES = ["in_call", "available", "paused", "wrap_up", "busy", "logged_out", "unknown"];
const TIMED = new Set(["available", "paused", "wrap_up", "busy"]);

const tiles = new Map(); // login -> its tile
const timed = new Set(); // the tiles with something to count
let logins = []; // in the order on the board
const counts = new Map(STATUSES.map((status) => [status, 0]));
const wanted = new Set(); // statuses to show, none: all
let needle = "";
let shown = 0;
let hiddenAgents = 0;

const mould = make("li", "tile");
mould.append(make("div", "face"));
mould.firstChild.append(make("i", "mark"), make("b", "login"), make("span", "word"), make("span", "way"), make("span", "timer"));

function newTile(login) {
  const element = mould.cloneNode(true);
  const [, name, word, way, timer] = element.firstChild.children;
  element.dataset.agent = name.textContent = element.title = login;
  element.hidden = true;
  const clock = timer.appendChild(document.createTextNode(""));
  return { login, folded: login.toLowerCase(), element, word, way, clock, status: null, direction: null, since: NaN };
}

function paintTile(tile, told) {
  const status = told.call ? "in_call" : STATUSES.includes(told.status) ? told.status : "unknown";
  const direction = told.call && Object.hasOwn(words.direction, told.call.direction) ? told.call.direction : null;
  if (status !== tile.status) {
    if (tile.status) counts.set(tile.status, counts.get(tile.status) - 1);
    counts.set(status, counts.get(status) + 1);
    tile.element.dataset.status = tile.status = status;
  }
  const coded = status === "unknown" && told.code != null;
  write(tile.word, coded ? fill(words.status.code, { n: told.code }) : words.status[status]);
  if (direction !== tile.direction) {
    tile.direction = direction;
    if (direction) tile.element.dataset.direction = direction;
    else delete tile.element.dataset.direction;
    tile.way.replaceChildren(...(direction ? [make("i", "arrow"), words.direction[direction]] : []));
  }
  tile.since = Date.parse(told.call ? told.call.since : TIMED.has(status) ? told.since : null);
  if (Number.isNaN(tile.since)) {
    timed.delete(tile);
    tile.clock.data = "";
  } else {
    timed.add(tile);
    paintTimer(tile, serverNow());
  }
  filterTile(tile);
}

function paintTimer(tile, now) {
  const seconds = (now - tile.since) / 1000;
  const text = tile.status === "in_call" ? elapsed(seconds) : minutes(seconds);
  if (tile.clock.data !== text) tile.clock.data = text;
}

function filterTile(tile) {
  const hide = (wanted.size > 0 && !wanted.has(tile.status)) || !tile.folded.includes(needle);
  if (hide === tile.element.hidden) return;
  tile.element.hidden = hide;
  shown += hide ? -1 : 1;
}

function removeTile(login) {
  const tile = tiles.get(login);
  if (!tile) return false;
  tiles.delete(login);
  timed.delete(tile);
  counts.set(tile.status, counts.get(tile.status) - 1);
  if (!tile.element.hidden) shown -= 1;
  tile.element.remove();
  return true;
}

/** Put new tiles among those on the board, which keep their places. */
function placeTiles(fresh) {
  logins = [...logins, ...fresh.keys()].sort(order);
  let next = null;
  for (let at = logins.length - 1; at >= 0; at -= 1) {
    const { element } = tiles.get(logins[at]);
    if (fresh.has(logins[at])) $("agents").insertBefore(element, next);
    next = element;
  }
  const size = logins.length;
  $("agents").dataset.density = size <= 24 ? "roomy" : size <= 80 ? "normal" : size <= 400 ? "dense" : "tiny";
}

function takeAgents(told, gone) {
  if (gone.filter(removeTile).length) logins = logins.filter((login) => tiles.has(login));
  const fresh = new Map();
  for (const one of told) {
    const login = String(one.agent);
    let tile = tiles.get(login);
    if (!tile) {
      tile = newTile(login);
      tiles.set(login, tile);
      fresh.set(login, tile);
    }
    paintTile(tile, one);
  }
  if (fresh.size) placeTiles(fresh);
  paintCounts();
}

const chips = new Map(); // status, or "all" -> the number on its button

function makeChips() {
  for (const status of ["all", ...STATUSES]) {
    const chip = make("button", "chip");
    chip.type = "button";
    chip.dataset.status = status;
    chip.setAttribute("aria-pressed", String(status === "all"));
    const number = make("b");
    if (status !== "all") chip.append(make("i", "mark"));
    chip.append(number, make("span", "", status === "all" ? words.all : words.status[status]));
    chip.addEventListener("click", () => {
      if (status === "all") wanted.clear();
      else if (!wanted.delete(status)) wanted.add(status);
      for (const other of $("counts").children) {
        const pressed = other.dataset.status === "all" ? wanted.size === 0 : wanted.has(other.dataset.status);
        other.setAttribute("aria-pressed", String(pressed));
      }
      filterAll();
    });
    chips.set(status, { chip, number });
    $("counts").append(chip);
  }
}

function paintCounts() {
  for (const [status, { chip, number }] of chips) {
    const count = status === "all" ? tiles.size + hiddenAgents : counts.get(status);
    write(number, whole.format(count));
    chip.dataset.count = count;
  }
  const note = [];
  if (tiles.size === 0) note.push(words.noAgents);
  else if (shown === 0) note.push(words.noMatch);
  else if (shown < tiles.size) note.push(fill(words.shown, { n: whole.format(shown), all: whole.format(tiles.size) }));
  if (hiddenAgents > 0) note.push(fill(words.hidden, { n: whole.format(hiddenAgents) }));
  write($("agents-note"), note.join(" "));
}

function filterAll() {
  needle = $("filter").value.trim().toLowerCase();
  tiles.forEach(filterTile);
  paintCounts();
}

// ---- Lights, figures and the chart ----

function paintLight(name, ok, state, detail) {
  const light = $(`light-${name}`);
  light.dataset.ok = String(ok);
  if (!light.firstChild) light.append(make("i"), make("b", "", words.light[name]), make("span"));
  write(light.lastChild, [state, ...detail].filter(Boolean).join(" · "));
}

function paintLights(said) {
  for (const name of ["link", "broker", "journal"]) {
    const part = said?.parts?.[name];
    const ok = typeof part?.ok === "boolean" ? part.ok : null;
    const why = !part || ok === true ? [] : [part.reason, part.since && fill(words.since, { t: timeOf(part.since) })];
    paintLight(name, ok, words.ok[ok], why);
  }
  const leads = said?.role == null ? null : said.role === "leader";
  paintLight("leader", leads, said?.role == null ? words.ok.null : wordOf("role", said.role), []);
}

let about = {};

function paintAbout(said) {
  about = { ...about, ...said };
  const parts = [about.site, about.version, about.masked ? words.masked : words.unmasked];
  if (about.ready === false) parts.push(words.unready);
  write($("about"), parts.filter(Boolean).join(" · "));
  document.title = `${about.ready === false ? "⚠ " : ""}${about.site ?? ""} · Tactium bridge`;
}

function paintJournal({ events = 0, bytes = 0, dropped = 0 }) {
  const figures = [
    ["events", events, whole.format(events), "some"],
    ["bytes", events, `${tenth.format(bytes / 1e6)} MB`, "some"],
    ["dropped", dropped, whole.format(dropped), "lost"],
  ];
  for (const [name, amount, text, level] of figures) {
    write($(`journal-${name}`), text);
    $(`journal-${name}`).dataset.level = amount > 0 ? level : "none";
  }
}

const SECONDS = 60;
let rates = [];
let points = 0; // received since the page was opened

function paintRate(fresh) {
  if (!fresh.length) return;
  rates = [...rates, ...fresh].slice(-SECONDS);
  points += fresh.length;
  const latest = rates[rates.length - 1];
  const peak = Math.max(...rates);
  const bar = (value, at) => `M${SECONDS - rates.length + at} 24v${-24 * (value / (peak || 1))}h.75V24z`;
  $("rate-path").setAttribute("d", rates.map(bar).join(""));
  $("rate-chart").dataset.latest = latest;
  $("rate-chart").dataset.points = points;
  write($("rate-now"), whole.format(latest));
  write($("rate-peak"), fill(words.peak, { n: whole.format(peak) }));
}

// ---- The three lists ----

const TONES = {
  ok: "good", sent: "good", rejected: "poor", invalid: "poor", forbidden: "poor", expired: "poor",
  timeout: "bad", unavailable: "bad", uncertain: "bad",
};
const SIGNS = { good: "✓", poor: "!", bad: "✕" };

function row(stamp, title, right, small) {
  const item = make("li");
  const time = make("time", "", timeOf(stamp));
  time.dateTime = String(stamp);
  item.append(time, make("b", "", title), right);
  const detail = small.filter(Boolean).join(" · ");
  if (detail) item.append(make("small", "", detail));
  return item;
}

const phone = (code, number) => [code, number].filter(Boolean).join(" ");

function eventDetail(type, data) {
  const route = [phone(data.origin_area_code, data.origin), phone(data.destination_area_code, data.destination)];
  switch (type) {
    case "call.started":
    case "call.current":
      return [route.filter(Boolean).join(" → "), data.description];
    case "call.ended":
      return [
        data.duration_seconds != null && elapsed(data.duration_seconds),
        data.inferred && words.inferred,
        data.repeated && words.repeated,
      ];
    case "agent.status":
      return [data.status === "unknown" ? fill(words.status.code, { n: data.code }) : wordOf("status", data.status)];
    case "bridge.resync":
      return [fill(words.resync, { n: data.agents, m: data.changed })];
    case "bridge.reply.late":
      return [wordOf("command", data.command)];
    default:
      return [data.reason];
  }
}

function eventRow({ time, type, agent, data }) {
  const known = data ?? {};
  const right = make("em", "", agent ?? "");
  const bad = ["bridge.link.down", "bridge.frame.malformed"].includes(type);
  const item = row(time, wordOf("type", type), right, eventDetail(type, known));
  if (bad) item.children[1].dataset.tone = "bad";
  if (Object.hasOwn(words.direction, String(known.direction))) {
    const arrow = make("i", "arrow");
    arrow.title = words.direction[known.direction];
    arrow.setAttribute("role", "img");
    arrow.setAttribute("aria-label", arrow.title);
    item.dataset.direction = known.direction;
    right.append(arrow);
  }
  return item;
}

function commandRow({ time, command, agent, user, outcome, seconds }) {
  const tone = TONES[outcome] ?? "poor";
  const right = make("em", "", `${SIGNS[tone]} ${wordOf("outcome", outcome)}`);
  right.dataset.tone = tone;
  const took = typeof seconds !== "number" ? null
    : seconds < 1 ? `${whole.format(Math.round(seconds * 1000))} ms` : `${tenth.format(seconds)} s`;
  return row(time, wordOf("command", command), right, [agent, user && fill(words.by, { n: user }), took]);
}

function gapRow({ from, to, cause, dropped }) {
  const lasted = (Date.parse(to) - Date.parse(from)) / 1000;
  const right = make("em", "", Number.isNaN(lasted) ? "" : elapsed(lasted));
  const lost = dropped > 0 && fill(words.droppedEvents, { n: whole.format(dropped) });
  const item = row(from, wordOf("cause", cause), right, [`${timeOf(from)} – ${timeOf(to)}`, lost]);
  if (lost) item.lastChild.dataset.tone = "bad";
  return item;
}

const FEEDS = [["events", eventRow, 30], ["commands", commandRow, 30], ["gaps", gapRow, 10]];

function takeFeeds(said, anew) {
  for (const [name, toRow, most] of FEEDS) {
    const list = $(name);
    const rows = (said[name] ?? []).slice(-most).reverse().map(toRow);
    if (anew) list.replaceChildren(...(rows.length ? rows : [make("li", "none", words.none)]));
    else if (rows.length) {
      list.querySelector(".none")?.remove();
      list.prepend(...rows);
    }
    while (list.children.length > most) list.lastChild.remove();
  }
}

// ---- Taking what the stream says: once per frame, however much came ----

let waiting = [];
let lastHeard = null;

function take({ kind, said }) {
  const anew = kind === "snapshot";
  setClock(said.now);
  lastHeard = said.now;
  const told = said.agents ?? [];
  const logged = anew ? new Set(told.map((tile) => String(tile.agent))) : null;
  hiddenAgents = said.hidden_agents ?? hiddenAgents;
  takeAgents(told, anew ? logins.filter((login) => !logged.has(login)) : said.gone ?? []);
  if (anew) rates = [];
  paintRate(said.rate ?? []);
  takeFeeds(said, anew);
  paintJournal(said.journal ?? {});
  paintAbout(said);
  paintLights(said);
  if (anew) setConnected();
}

function drain() {
  const messages = waiting;
  waiting = [];
  messages.forEach(take);
}

function heard(kind, text) {
  if (kind !== "snapshot" && kind !== "update") return;
  const said = JSON.parse(text);
  if (waiting.push({ kind, said }) === 1) requestAnimationFrame(drain);
  // A page that is not looked at gets no frames; what waits for one must not pile up.
  if (waiting.length > 20) drain();
}

function setConnected() {
  failures = 0;
  document.body.dataset.connected = "true";
  $("banner").hidden = true;
}

function setLost(text) {
  waiting = [];
  document.body.dataset.connected = "false";
  const old = lastHeard && fill(words.frozen, { t: timeOf(lastHeard) });
  write($("banner"), [text, old].filter(Boolean).join(" "));
  $("banner").hidden = false;
  paintLights(null);
}

// ---- The stream. EventSource would not tell a 401 from a broken line, so it is read by fetch ----

const SILENCE = 15_000; // the server speaks at least every 5 s
const REFUSALS = { 401: words.token, 503: words.crowded };
let failures = 0;
let wake = () => {};

async function listen(signal, alive) {
  const answer = await fetch("/events", { signal, cache: "no-store", headers: { Accept: "text/event-stream" } });
  if (!answer.ok) return REFUSALS[answer.status] ?? fill(words.failed, { n: answer.status });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return words.lost;
    alive();
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => line.match(/^(event|data): ?(.*)$/) ?? []);
      const data = fields.filter(([, name]) => name === "data").map(([, , text]) => text);
      const kind = fields.find(([, name]) => name === "event")?.[2];
      if (data.length) heard(kind, data.join("\n"));
    }
  }
}

async function keepListening() {
  for (;;) {
    const stop = new AbortController();
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stop.abort(), SILENCE);
    };
    alive();
    const why = await listen(stop.signal, alive).catch(() => words.lost);
    clearTimeout(watchdog);
    stop.abort();
    setLost(why);
    // 1, 2, 4, 8, 10, 10 … s, and up to a fifth more, so that many screens do not come back at once.
    const pause = Math.min(10_000, 1000 * 2 ** failures) * (1 + Math.random() / 5);
    failures += 1;
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, pause);
    });
  }
}

function tick() {
  const now = serverNow();
  write($("clock"), timeFormat.format(now));
  // Without the stream nothing is known of the calls: their timers stand still.
  if (document.body.dataset.connected === "true") for (const tile of timed) paintTimer(tile, now);
  setTimeout(tick, 1000 - (serverNow() % 1000));
}

document.documentElement.lang = lang === "pt" ? "pt-BR" : "en";
for (const element of document.querySelectorAll("[data-t]")) element.textContent = words[element.dataset.t];
for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", words[element.dataset.tLabel]);
$("filter").placeholder = words.filter;
$("filter").addEventListener("input", filterAll);
$("group").addEventListener("click", () => {
  const grouped = $("group").getAttribute("aria-pressed") !== "true";
  $("group").setAttribute("aria-pressed", String(grouped));
  $("agents").dataset.group = String(grouped);
});
addEventListener("online", () => wake());
makeChips();
paintLights(null);
setTimeout(() => { if (!lastHeard && $("banner").hidden) setLost(words.connecting); }, 1500);
tick();
keepListening();
