/* Language, words and the formats of figures and times: everything a screen says goes through here. */
export const ZH = document.documentElement.lang !== "en";
export const L = (zh, en) => (ZH ? zh : en);
/** A text of the API: {zh, en}, or plain. */
export const say = (text) => (text && typeof text === "object" ? (ZH ? text.zh : text.en) || text.zh || text.en || "" : text ?? "");

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
/** Everything that came from the API passes here before it becomes HTML. */
export const esc = (text) => String(text ?? "").replace(/[&<>"']/g, (c) => ESCAPES[c]);

/* figures: comma groups, U+2212 minus, the sign always on an error */
const grouped = [0, 1, 2].map((digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const figure = (x, digits) => (Number.isFinite(x) ? grouped[digits].format(x).replace("-", "−") : "—");
export const n0 = (x) => figure(x, 0);
export const n1 = (x) => figure(x, 1);
export const n2 = (x) => figure(x, 2);
export const pct = (x, digits = 2) =>
  !Number.isFinite(x) ? "—" : (Math.abs(x) < 0.5 * 10 ** -digits ? "±" : x > 0 ? "+" : "−") + Math.abs(x).toFixed(digits) + "%";
export const unit = (u) => `<span class="u">${u}</span>`;

/* times: local time of the server's county, never the browser's */
let clock = null;
export function setZone(zone) {
  const of = (options) => {
    try { return new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour12: false, ...options }); }
    catch (_) { return new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour12: false, ...options }); }
  };
  clock = of({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
setZone("Asia/Shanghai");
/** {y, m, d, H, M, S} as text, from seconds since 1970. */
function parts(seconds) {
  const p = Object.fromEntries(clock.formatToParts(new Date(seconds * 1000)).map((x) => [x.type, x.value]));
  return { y: p.year, m: p.month, d: p.day, H: p.hour === "24" ? "00" : p.hour, M: p.minute, S: p.second };
}
export const seconds = (iso) => (iso ? Date.parse(iso) / 1000 : NaN);
const written = (at, how) => { const s = typeof at === "number" ? at : seconds(at); return Number.isFinite(s) ? how(parts(s)) : "—"; };
export const day = (at) => written(at, (p) => `${p.y}-${p.m}-${p.d}`);
export const hms = (at) => written(at, (p) => `${p.H}:${p.M}:${p.S}`);
export const hm = (at) => written(at, (p) => `${p.H}:${p.M}`);
export const dayHm = (at) => written(at, (p) => `${p.y}-${p.m}-${p.d} ${p.H}:${p.M}`);
export const mdHms = (at) => written(at, (p) => `${p.m}-${p.d} ${p.H}:${p.M}:${p.S}`);
/** The day only when it is another day than now. */
export const near = (at, now) => (day(at) === day(now) ? hms(at) : written(at, (p) => `${p.m}-${p.d} ${p.H}:${p.M}`));
export const nearShort = (at, now) => (day(at) === day(now) ? hm(at) : written(at, (p) => `${p.m}-${p.d}`));

/** Age in one unit: 12 s, 3 min, 6 h, 4 d. */
export function age(s) {
  if (!Number.isFinite(s) || s > 3e8) return "—";
  if (s < 60) return L(`${Math.max(0, Math.floor(s))}秒`, `${Math.max(0, Math.floor(s))} s`);
  if (s < 5400) return L(`${Math.floor(s / 60)}分`, `${Math.floor(s / 60)} min`);
  if (s < 172800) return L(`${Math.floor(s / 3600)}时`, `${Math.floor(s / 3600)} h`);
  return L(`${Math.floor(s / 86400)}天`, `${Math.floor(s / 86400)} d`);
}

export const grade = (g) => (g === "0#" ? L("0#柴", "0# D") : g ?? "");
export const PRIORITY = { critical: 1, high: 2, medium: 3, low: 4, info: 0 };
export const priorityWord = (p) => ["", L("紧急", "critical"), L("高", "high"), L("中", "medium"), L("低", "low")][p] || L("事件", "event");
export const ALARM_STATE = {
  active: L("未确认", "unacknowledged"), acknowledged: L("已确认", "acknowledged"),
  returned: L("恢复待确认", "returned"), cleared: L("已解除", "cleared"),
};
/** Nozzle states as the frame counts them: class of the cell and word. */
export const NOZZLE_STATE = [
  ["idle", L("空闲", "idle")], ["lift", L("提枪", "lifted")], ["fuel", L("加油中", "fuelling")], ["stop", L("停流", "stopped")],
  ["lock", L("自锁", "locked")], ["stale", L("陈旧", "stale")], ["off", L("离线", "offline")],
];
const DEPARTMENTS = {
  market_regulation: L("市场监管", "Regulation"), tax: L("税务", "Tax"), commerce: L("商务", "Commerce"),
  police: L("公安", "Police"), emergency: L("应急", "Emergency"), operations: L("运维", "Operations"),
};
export const department = (d) => DEPARTMENTS[d] ?? d ?? "";
const CAUSES = {
  short_delivery: L("少付", "short delivery"), selective_short_delivery: L("选择性少付", "selective short delivery"), out_of_tolerance: L("超差", "out of tolerance"),
  identity_change: L("身份不符", "identity change"), offline_sale: L("无记录出油", "sale off the record"), totalizer_rollback: L("泵码倒退", "totalizer rollback"),
  sequence_gap: L("序号缺失", "sequence gap"), tax_memory_gap: L("税控缺记录", "tax memory gap"), collector_outage: L("断线", "link lost"),
  clock_fault: L("时钟故障", "clock fault"), frozen_data: L("数据冻结", "frozen data"), replayed_data: L("数据重放", "replayed data"),
  edited_record: L("记录被改", "edited record"), leak: L("疑似泄漏", "suspected leak"), theft: L("失油", "fuel missing"),
  water: L("水高", "water"), chart_error: L("容积表误差", "strapping table error"), delivery_short: L("卸油短量", "delivery short"),
  unrecorded_delivery: L("未记卸油", "unrecorded delivery"), under_declared_sales: L("少申报", "under-declared"), certificate_expired: L("证书到期", "certificate expired"),
  licence_expired: L("资格到期", "licence expired"),
};
export const causeWord = (cause) => CAUSES[cause] ?? cause ?? "";
const ACTS = {
  raise: L("报警发生", "Alarm raised"), repeat: L("再次发现", "Found again"), acknowledge: L("确认", "Acknowledged"),
  return: L("恢复正常", "Returned to normal"), clear: L("解除", "Cleared"),
};
export const actWord = (act) => ACTS[act] ?? act ?? "";

/** What stands beside a value that is not good; codes are OPC UA severity in the two high bits. */
export function qualityTag(code) {
  const tag = {
    0x01: L("补", "late"), 0x02: L("仿", "sim"), 0x41: L("旧", "old"), 0x42: L("代", "sub"), 0x81: L("断", "off"), 0x82: L("超", "rng"),
  }[code] ?? (code >= 0x80 ? L("坏", "bad") : code >= 0x40 ? L("疑", "?") : "");
  return tag ? `<span class="tag">${tag}</span>` : "";
}
