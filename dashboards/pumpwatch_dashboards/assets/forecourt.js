/* The forecourt of one station: every nozzle in its dispenser, what it does now or what it sold last. */
import { L, NOZZLE_STATE, esc, grade, hm, n1, n2, unit } from "./words.js";
import { alarmColours, mark, priority } from "./marks.js";

const FUELLING = 2, STOPPED = 3, STALE = 5, OFFLINE = 6;
export const dispenserWord = (id) => { const d = /-D(\d+)$/.exec(id ?? ""); return d ? L(`${d[1]}号机`, `Dispenser ${d[1]}`) : id ?? "—"; };
export const short = (text) => (String(text).length > 12 ? `${String(text).slice(0, 4)}…${String(text).slice(-2)}` : String(text));

/** Dispensers in the order of their first nozzle: [id, nozzles]. */
export function dispensers(station) {
  const by = new Map();
  for (const n of station.nozzles) (by.get(n.dispenser_id) ?? by.set(n.dispenser_id, []).get(n.dispenser_id)).push(n);
  return [...by];
}

export class Forecourt {
  constructor(box, station) {
    this.station = station;
    this.last = new Map();
    this.alarmed = new Map();
    const list = dispensers(station), lines = list.reduce((n, [, nozzles]) => n + (nozzles.length < 3 ? 0.5 : 1), 0);
    box.parentElement.style.setProperty("--rows", lines > 4 ? "1.75" : lines > 3 ? "1.5" : "1.35");
    box.classList.toggle("tight", lines > 4);
    box.innerHTML = list.map(([id, nozzles]) => `<div class="disp${nozzles.length < 3 ? " half" : ""}" data-disp="${esc(id)}">
      <div class="dh"><b>${esc(dispenserWord(id))}</b><span class="el"></span></div>
      <div class="g" style="--n:${Math.max(2, nozzles.length)}">${nozzles.map((n) => `<div data-n="${esc(n.nozzle_id)}"></div>`).join("")}</div>
      </div>`).join("");
    this.boxes = new Map(station.nozzles.map((n) => [n.nozzle_id, { e: box.querySelector(`[data-n="${CSS.escape(n.nozzle_id)}"]`), look: "" }]));
    this.heads = new Map([...box.querySelectorAll("[data-disp]")].map((e) => [e.dataset.disp, e.querySelector(".dh span")]));
  }

  /** What each dispenser says it is, and which device does not answer. */
  facts(detail) {
    for (const d of detail.dispensers ?? []) {
      const device = (detail.devices ?? []).find((x) => x.dispenser_id === d.dispenser_id), head = this.heads.get(d.dispenser_id);
      if (!head) continue;
      const seen = d.observed ?? {}, known = [
        [d.brand, d.model].filter(Boolean).join(" "),
        seen.mainboard_serial && `${L("主板", "board")} ${short(seen.mainboard_serial)}`,
        seen.firmware_digest && `${L("程序摘要", "digest")} ${short(seen.firmware_digest)}`,
      ];
      const down = device && device.connected === false ? `<span class="tag">${L("断", "off")}</span> ${esc(device.reason ?? "")}` : "";
      head.innerHTML = down || known.filter(Boolean).map(esc).join(" · ");
      head.title = device?.reason ?? "";
    }
  }

  /** The newest sale of each nozzle. */
  sales(list) {
    this.last = new Map();
    for (const s of list) if (!this.last.has(s.nozzle_id)) this.last.set(s.nozzle_id, s);
    for (const b of this.boxes.values()) b.look = "";
  }

  alarms(county) {
    this.alarmed = new Map(this.station.nozzles.map((n) => [n.nozzle_id, county.alarmsOf(n.nozzle_id)[0]]));
    for (const b of this.boxes.values()) b.look = "";
  }

  /** Paint a frame; true when a nozzle has just finished a sale. */
  frame(f) {
    let sold = false;
    for (const n of this.station.nozzles) {
      const b = this.boxes.get(n.nozzle_id), state = f.state[n.index], a = this.alarmed.get(n.nozzle_id), look = `${state} ${a?.id ?? ""} ${a?.state ?? ""}`;
      if (b.state >= FUELLING && b.state <= STOPPED && state < FUELLING) sold = true;
      if (b.look !== look) {
        b.look = look;
        b.e.className = `nb ${NOZZLE_STATE[state]?.[0] ?? "off"}${a ? " alarm" : ""}${a && a.state !== "active" ? " seen" : ""}`;
        b.e.style.cssText = a ? alarmColours(priority(a)) : "";
        b.e.innerHTML = this.html(n, state, a);
        [b.litres, b.flow, b.amount] = ["[data-l]", "[data-f]", "[data-a]"].map((q) => b.e.querySelector(q));
      }
      b.state = state;
      if (b.litres) b.litres.textContent = n2(f.volume[n.index]);
      if (b.flow) b.flow.textContent = `${n1(f.flow[n.index])} L/min`;
      if (b.amount) b.amount.textContent = `¥${n2(f.amount[n.index])}`;
    }
    return sold;
  }

  html(n, state, a) {
    const live = state === FUELLING || state === STOPPED, last = this.last.get(n.nozzle_id);
    let value = last ? `<span class="past">${L("上笔", "last")} ${hm(last.end)} · ${n2(last.volume_l)} L</span>` : "";
    if (live) value = `<span data-live><span data-l></span>${unit("L")}</span>`;
    if (state === OFFLINE) value = "—";
    const tag = state === STALE ? `<span class="tag">${L("旧", "old")}</span>` : "";
    return `<div class="t"><b>${esc(n.number)}</b><span>${esc(grade(n.grade))}</span></div><div class="v">${value}${tag}</div>
      <div class="w"><span>${NOZZLE_STATE[state]?.[1] ?? ""}${state === FUELLING ? ' <span data-f></span>' : ""}</span>${live ? "<span data-a></span>" : ""}</div>
      ${a ? mark(priority(a), { active: "unack", acknowledged: "ack", returned: "rtn" }[a.state], 24) : ""}`;
  }
}
