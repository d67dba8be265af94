/* What the feed has told: stations, the newest frame, alarms. Words are in words.js, drawing elsewhere. */
import { L, ZH, setZone, seconds, say, grade } from "./words.js";
import { priority } from "./marks.js";

export const GOOD = 0, STALE = 1, OFFLINE = 2;
const RANK = { active: 0, returned: 1, acknowledged: 2, cleared: 3 };
const HEADER = 32, MAGIC = 0x31305750; // "PW01" read as a little-endian number

export class County {
  constructor() {
    this.server = {};
    this.stations = [];
    this.byId = new Map();
    this.alarms = [];
    this.frame = null;
    this.version = -1;
    this.started = this.arrived = performance.now();
  }

  setLayout(message) {
    this.server = message.server ?? {};
    this.version = message.version >>> 0;
    this.frame = null;
    setZone(this.server.time_zone);
    let nozzle = 0, tank = 0;
    this.stations = (message.stations ?? []).map((facts, index) => {
      const of = (list, start) => (list ?? []).map((x, i) => ({ ...x, index: start + i, local: i }));
      const station = { ...facts, id: String(facts.station_id), index, nozzles: of(facts.nozzles, nozzle), tanks: of(facts.tanks, tank) };
      nozzle += station.nozzles.length;
      tank += station.tanks.length;
      return station;
    });
    this.nozzles = nozzle;
    this.tanks = tank;
    this.byId = new Map(this.stations.map((s) => [s.id, s]));
  }

  /** Take a frame; false when it is not one of this layout. */
  setFrame(buffer) {
    if (buffer.byteLength < HEADER) return false;
    const head = new DataView(buffer);
    const [S, N, T] = [16, 20, 24].map((at) => head.getUint32(at, true));
    if (head.getUint32(0, true) !== MAGIC || head.getUint32(4, true) !== this.version) return false;
    if (S !== this.stations.length || N !== this.nozzles || T !== this.tanks) return false;
    if (buffer.byteLength < HEADER + 4 * (2 * S + 3 * N + T) + S + N) return false;
    let at = HEADER;
    const floats = (n) => { const view = new Float32Array(buffer, at, n); at += 4 * n; return view; };
    const bytes = (n) => { const view = new Uint8Array(buffer, at, n); at += n; return view; };
    this.frame = {
      at: head.getFloat64(8, true), age: floats(S), sold: floats(S), volume: floats(N), amount: floats(N), flow: floats(N), fill: floats(T),
      quality: bytes(S), state: bytes(N),
    };
    this.arrived = performance.now();
    return true;
  }

  setAlarms(list) {
    this.alarms = list.slice().sort((a, b) =>
      RANK[a.state] - RANK[b.state] || (priority(a) || 9) - (priority(b) || 9) || seconds(b.raised_at) - seconds(a.raised_at));
  }

  /** Seconds since 1970 by the server's clock, never the browser's; NaN before the first frame. */
  now() { return this.frame ? this.frame.at + (performance.now() - this.arrived) / 1000 : NaN; }
  /** Seconds without a frame. */
  silence() { return (performance.now() - (this.frame ? this.arrived : this.started)) / 1000; }

  current() { return this.alarms.filter((a) => a.state !== "cleared" && priority(a)); }
  cleared() { return this.alarms.filter((a) => a.state === "cleared" && priority(a)).sort((a, b) => seconds(b.cleared_at) - seconds(a.cleared_at)); }
  /** The alarm a station's tile shows. */
  worst(station) { return this.current().find((a) => a.subject?.station_id === station.id); }
  alarmsOf(nozzleId) { return this.current().filter((a) => a.subject?.nozzle_id === nozzleId); }

  online() { return this.frame ? this.frame.quality.reduce((n, q) => n + (q !== OFFLINE), 0) : NaN; }
  fuelling() { return this.frame ? this.frame.state.reduce((n, s) => n + (s === 2), 0) : NaN; }
  sold() { return this.frame ? this.frame.sold.reduce((n, v) => n + (Number.isFinite(v) ? v : 0), 0) : NaN; }
}

export const name = (s) => (ZH ? s.name : s.name_en || s.name) || s.id;
export const shortName = (s) => (ZH ? s.short_name || s.name : s.short_name_en || s.name_en || s.short_name || s.name) || s.id;
export const town = (s) => (ZH ? s.town : s.town_en || s.town) || "";

/** What an alarm is about, within its station: "3号枪", "2号罐", "1号机" or nothing. */
export function subjectPart(alarm, county) {
  const s = alarm.subject ?? {}, station = county.byId.get(s.station_id);
  const nozzle = station?.nozzles.find((n) => n.nozzle_id === s.nozzle_id), tank = station?.tanks.find((x) => x.tank_id === s.tank_id);
  if (s.nozzle_id) return nozzle ? L(`${nozzle.number}号枪`, `Nozzle ${nozzle.number}`) : s.nozzle_id;
  if (s.tank_id) return tank ? L(`${tank.number}号罐`, `Tank ${tank.number}`) : s.tank_id;
  const d = /-D(\d+)$/.exec(s.dispenser_id ?? "");
  return s.dispenser_id ? (d ? L(`${d[1]}号机`, `Dispenser ${d[1]}`) : s.dispenser_id) : "";
}
export const title = (alarm) => say(alarm.finding?.explanation?.title) || alarm.cause || alarm.rule || alarm.id;
/** Title with what it is about in front, unless the title says it. */
export function headline(alarm, county) {
  const part = subjectPart(alarm, county), text = title(alarm);
  return !part || /^(\d+号|加油[枪机]|油罐|(nozzle|dispenser|tank)\b)/i.test(text) ? text : `${part} ${text}`;
}
export const place = (alarm, county) => {
  const s = county.byId.get(alarm.subject?.station_id);
  return s ? name(s) : alarm.subject?.station_id ?? "";
};
export const gradeOf = (alarm, county) => {
  const s = county.byId.get(alarm.subject?.station_id);
  return grade(s?.nozzles.find((n) => n.nozzle_id === alarm.subject.nozzle_id)?.grade ?? s?.tanks.find((x) => x.tank_id === alarm.subject.tank_id)?.grade);
};
