/* Station tiles: built once a layout, then only what changed is touched. Place is memory, so they never change their order. */
import { L, NOZZLE_STATE, age, esc, n0, n1, unit } from "./words.js";
import { MARK, alarmColours, cellClass, mark, priority } from "./marks.js";
import { OFFLINE, STALE, headline, shortName } from "./county.js";
import { address } from "./bar.js";

const GAP = 7, HEAD = 26, FOOT = 25, SIDE = 16, FULL = 48;
/* width of a cell, and of a tile that still shows its name beside cells of that size */
const CELLS = [[48, 240], [36, 220], [28, 200], [24, 160], [20, 148]], WIDEST = 560, AIR = 44;

const tall = (lines, cell) => HEAD + FOOT + 6 + lines * (Math.ceil(cell * 0.9) + 2);
/** Columns, tile height and cell size for `n` tiles in a box: the largest cells with which every nozzle shows; null when none fit. */
export function arrange(n, most, w, h) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  for (const [cell, least] of CELLS) {
    let best = null;
    for (let columns = 1; columns <= n; columns++) {
      const rows = Math.ceil(n / columns), tw = Math.min(WIDEST, (w - GAP * (columns - 1)) / columns), room = (h - GAP * (rows - 1)) / rows;
      if (tw < least * rem) break;
      const across = Math.floor((tw - SIDE + 2) / (cell + 2)), lines = Math.ceil(most / across), need = tall(lines, cell);
      if (need > room || across < 3) continue;
      const th = Math.min(room, need + AIR), odd = Math.abs(Math.log(tw / th / 1.55)) + (rows * columns - n) / n / 2;
      if (!best || odd < best.odd) best = { odd, columns, width: tw, height: th, cell };
    }
    if (best) return best;
  }
  return null;
}

/** Too many to fit: rows of this height, and the region scrolls. */
function scrolling(most, w) {
  const cell = 20, columns = Math.max(2, Math.floor((w + GAP) / (165 + GAP))), width = (w - GAP * (columns - 1)) / columns;
  const across = Math.max(1, Math.floor((width - SIDE + 2) / (cell + 2)));
  return { columns, width, height: tall(Math.ceil(most / across), cell), cell, scroll: true };
}

export class Tiles {
  /** Build the tiles of a layout into `box`. */
  constructor(box, county, phone) {
    const most = Math.max(1, ...county.stations.map((s) => s.nozzles.length)), w = box.clientWidth, h = box.clientHeight;
    const fit = phone ? scrolling(most, w) : arrange(county.stations.length, most, w, h) ?? scrolling(most, w - 8);
    box.toggleAttribute("data-scroll", Boolean(fit.scroll) && !phone);
    box.style.gridTemplateColumns = `repeat(${fit.columns}, minmax(0, ${fit.width < WIDEST ? "1fr" : `${WIDEST}px`}))`;
    box.style.gridAutoRows = `${Math.floor(fit.height)}px`;
    box.style.setProperty("--cell", `${fit.cell}px`);
    box.dataset.size = fit.cell >= 36 ? "l" : fit.cell >= 28 ? "m" : "s";
    this.litres = fit.cell >= FULL;
    box.innerHTML = county.stations.map((s) => this.html(s)).join("");
    const cells = box.querySelectorAll(".nz");
    this.tiles = county.stations.map((s, i) => {
      const e = box.children[i], part = (what) => e.querySelector(what);
      const parts = { head: part(".hd span.m"), foot: part(".said"), sold: part("[data-day]"), tanks: [...e.querySelectorAll(".tk s")] };
      return { e, station: s, ...parts, look: "", said: "", sold_: "" };
    });
    this.cells = [...cells].map((e) => ({ e, text: this.litres ? e.querySelector("em") : null, state: -1, alarmed: null, litres: "" }));
    this.fills = new Array(county.tanks).fill("");
    this.alarmed = new Map();
  }

  html(s) {
    const cell = (n) => `<div class="nz off" title="${esc(n.number)}"><i>${esc(n.number)}</i>${this.litres ? "<em></em>" : ""}</div>`;
    const said = `<span class="said el"><span class="nw" data-live><span data-day>—</span>${unit("L")}</span></span>`;
    const tanks = `<span class="tk" aria-hidden="true">${s.tanks.map(() => "<s></s>").join("")}</span>`;
    return `<a class="tile" id="tile-${esc(s.id)}" href="${esc(address("station", { id: s.id }))}"><div class="hd">
      <span class="m"></span><b class="el">${esc(shortName(s))}</b><span class="id">${esc(s.id)}</span></div>
      <div class="ns">${s.nozzles.map(cell).join("")}</div><div class="ft">${said}${tanks}</div></a>`;
  }

  /** Alarms changed: which station and which nozzle carry one. */
  alarms(county) {
    this.alarmed = new Map();
    this.worst = new Map();
    for (const a of county.current()) {
      if (a.subject?.nozzle_id && a.state === "active" && !this.alarmed.has(a.subject.nozzle_id)) this.alarmed.set(a.subject.nozzle_id, priority(a));
      if (!this.worst.has(a.subject?.station_id)) this.worst.set(a.subject?.station_id, a);
    }
    for (const t of this.tiles) t.look = "";
    this.frame(county);
  }

  frame(county) {
    const f = county.frame;
    if (!f || !this.worst) return;
    for (const t of this.tiles) this.tile(t, f, county);
    county.stations.forEach((s) => s.nozzles.forEach((n) => this.cell(this.cells[n.index], n, f)));
    county.stations.forEach((s) => s.tanks.forEach((x) => this.fill(this.tiles[s.index].tanks[x.local], x.index, f.fill[x.index])));
  }

  tile(t, f, county) {
    const s = t.station, q = f.quality[s.index], a = this.worst.get(s.id), fresh = a?.state === "active";
    const since = age(f.age[s.index]), late = { [OFFLINE]: L(`离线 ${since}`, `offline ${since}`), [STALE]: L(`数据陈旧 ${since}`, `stale ${since}`) }[q] ?? "";
    const said = fresh ? headline(a, county) : late || (a ? headline(a, county) : "");
    const look = `tile${said ? " worded" : ""}${q === OFFLINE ? " off" : q === STALE ? " stale" : ""}${fresh ? " un" : a ? " ak" : ""}`;
    if (t.look !== look + (a?.id ?? "")) {
      t.look = look + (a?.id ?? "");
      t.e.className = look;
      t.e.style.cssText = a ? alarmColours(priority(a)) : "";
      t.head.innerHTML = a ? mark(priority(a), MARK[a.state], fresh ? 22 : 18) : "";
      t.e.title = `${s.name}${a ? ` · ${headline(a, county)}` : ""}`;
    }
    if (t.said !== said) {
      t.said = said;
      t.sold_ = "";
      t.foot.className = `said el${fresh || late ? " why" : ""}`;
      t.foot.innerHTML = said ? "" : `<span class="nw" data-live><span data-day></span>${unit("L")}</span>`;
      if (said) t.foot.textContent = fitting(said, t.foot);
      t.sold = t.foot.querySelector("[data-day]");
    }
    if (t.sold) { const text = n0(f.sold[s.index]); if (text !== t.sold_) { t.sold_ = text; t.sold.textContent = text; } }
  }

  cell(c, n, f) {
    const state = f.state[n.index], alarmed = this.alarmed.get(n.nozzle_id) ?? 0;
    if (c.state !== state || c.alarmed !== alarmed) {
      c.state = state;
      c.alarmed = alarmed;
      c.e.className = cellClass(state, alarmed);
      c.e.style.cssText = alarmColours(alarmed);
      c.e.title = `${n.number} ${(NOZZLE_STATE[state] ?? NOZZLE_STATE[6])[1]}`;
    }
    if (c.text) {
      const text = state === 2 || state === 3 ? n1(f.volume[n.index]) : state === 4 ? L("锁", "lock") : "";
      if (c.litres !== text) { c.litres = text; c.text.textContent = text; }
    }
  }

  fill(bar, index, value) {
    const text = Number.isFinite(value) ? `${Math.round(Math.max(0, Math.min(1, value)) * 100)}%` : "";
    if (!bar || this.fills[index] === text) return;
    this.fills[index] = text;
    bar.style.setProperty("--v", text || "0%");
    bar.className = text ? "" : "none";
  }
}

const pen = document.createElement("canvas").getContext("2d");
/** As many words of a title as fit, rather than half a word; what it is about and one word more always stay. */
export function fitting(text, element) {
  const style = getComputedStyle(element), room = element.closest(".ft").clientWidth - 14, least = /^\S+ \d/.test(text) ? 3 : 2;
  pen.font = `600 ${style.fontSize} ${style.fontFamily}`;
  const fits = (s) => pen.measureText(s).width <= room;
  if (fits(text)) return text;
  const words = text.replace("号加油机", "号机").replace("Dispenser", "Disp.").split(" ");
  while (words.length > least && !fits(words.join(" "))) words.pop();
  if (words.length > 1 && /^[a-z]{1,2}$/.test(words.at(-1))) words.pop(); // "changed, no" says less than "changed"
  return words.join(" ").replace(/[,，;；:：·]$/, "");
}
