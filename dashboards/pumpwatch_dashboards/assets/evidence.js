/* Why an alarm was raised: its figures, the records the rule used, the sales of its nozzle, and the log. */
import { KINDS, figure, word } from "./evidence_words.js";
import { L, actWord, dayHm, esc, n0, n2, near, pct } from "./words.js";
import { outside, scatter, table } from "./sales.js";

const SHOWN_SALES = 7, SHOWN_RECORDS = 10, SHOWN_PAIRS = 10, LATEST = 6;
const signed = (v, unit) => (unit === "%" ? pct(v) : `${unit === "L" || Math.abs(v) < 10 ? n2(v) : n0(v)} ${esc(unit)}`);

/** Estimate with its interval, onset and count. */
export function figures(alarm) {
  const e = alarm.finding?.estimate, rows = [];
  if (e) {
    const sure = e.confidence ? `${Math.round(e.confidence * 100)}% ` : "", range = typeof e.low === "number" && typeof e.high === "number";
    rows.push([e.unit === "%" ? L("估计（正值为少付）", "estimate (plus: customer short)") : L("估计", "estimate"), signed(e.value, e.unit)]);
    rows.push([sure + L("区间", "interval"), range ? `${signed(e.low, e.unit)} … ${signed(e.high, e.unit)}` : "—"]);
  }
  rows.push([L("起点", "onset"), dayHm(alarm.onset)], [L("发现次数", "times found"), n0(alarm.count ?? 1)]);
  return rows.map(([word, value]) => `<div><span>${word}</span><b>${value}</b></div>`).join("");
}

function pairs(data, now) {
  const said = Object.entries(data ?? {}).filter(([, v]) => v !== null && v !== undefined && v !== "").slice(0, SHOWN_PAIRS);
  return said.map(([k, v]) => `<span class="pair"><i>${word(k)}</i> ${figure(k, v, now)}</span>`).join("");
}

const compared = (e) => typeof e.data?.displayed_l === "number" && typeof e.data?.counted_l === "number";
function saleRow({ data, reference }, now) {
  const error = data.error_percent ?? ((data.displayed_l - data.counted_l) / data.counted_l) * 100;
  const tax = typeof data.tax_l === "number" ? n2(data.tax_l) : `<span class="tag">${L("缺", "none")}</span>`;
  const cells = [n2(data.displayed_l), n2(data.counted_l), tax, pct(error)].map((c) => `<td>${c}</td>`).join("");
  return `<tr title="${esc(reference)}"><td class="l">${near(data.end, now)}</td>${cells}</tr>`;
}
/** Records of compared sales in columns, newest first; everything else as pairs. */
function records(list, now) {
  const sales = list.filter(compared).slice(-SHOWN_SALES).reverse(), rest = list.filter((e) => !compared(e)).slice(0, SHOWN_RECORDS);
  const heads = [`${L("显示", "displayed")} L`, `${L("编码器", "encoder")} L`, `${L("税控", "tax")} L`, L("误差", "error")].map((h) => `<th>${h}</th>`).join("");
  const columns = `<table class="t"><thead><tr><th class="l">${L("时间", "time")}</th>${heads}</tr></thead>
    <tbody>${sales.map((e) => saleRow(e, now)).join("")}</tbody></table>`;
  const lines = rest.map((e) => `<div><b>${esc(KINDS[e.kind] ?? e.kind)}</b> <code>${esc(e.reference)}</code><p>${pairs(e.data, now)}</p></div>`);
  return (sales.length ? columns : "") + (lines.length ? `<div class="recs">${lines.join("")}</div>` : "");
}

/** The evidence as the rule gave it and, for a nozzle, its sales (`mine`) as they are known now; `wide` pixels in all. */
export function evidence(alarm, mine, now, { wide, two, low }) {
  const list = alarm.finding?.evidence ?? [], known = mine?.filter((s) => s.encoder_l > 0).length ?? 0, parts = [];
  const heading = (word, more) => `<h2>${word}<small>${more}</small></h2>`;
  if (known) {
    const w = Math.max(280, two && list.length ? Math.floor(wide / 2) - 8 : wide);
    const more = L(`显示对编码器 · 本枪已知 ${known} 笔`, `${known} sales of this nozzle`);
    parts.push(`<div class="fig">${heading(L("每笔误差与加油量", "Error and size of each sale"), more)}${scatter(mine, w, low ? 240 : 262)}</div>`);
  }
  if (list.length) {
    const more = L(`规则所据的 ${list.length} 条记录`, `${list.length} ${list.length === 1 ? "record" : "records"} the rule used`);
    parts.push(`<div class="evd">${heading(L("证据", "Evidence"), more)}${records(list, now)}</div>`);
  }
  if (mine?.length) {
    const out = mine.filter(outside), latest = (out.length ? out : mine).slice(0, LATEST);
    const word = out.length ? L("这把枪最近超差的几笔", "Latest sales of this nozzle out of tolerance") : L("这把枪最近几笔", "Latest sales of this nozzle");
    const more = L("显示量相对 ● 编码器、◇ 税控；正值为少付", "displayed against ● encoder and ◇ tax; plus: customer short");
    parts.push(`<div class="tail">${heading(word, more)}${table(latest, { now, alarmOf: () => null, withNozzle: false })}</div>`);
  }
  return parts.join("");
}

/** The log as a timeline: when, what, who and why; a run of repeats is one line. */
export function timeline(log, now) {
  const lines = [];
  for (const e of log) {
    const before = lines.at(-1);
    if (e.act === "repeat" && before?.act === "repeat") { before.times += 1; before.at = e.at; } else lines.push({ ...e, times: 1 });
  }
  return lines.map((e) => {
    const who = [e.by, e.note].filter(Boolean).join(L("：", ": ")), what = esc(actWord(e.act)) + (e.times > 1 ? ` ×${e.times}` : "");
    return `<li><time>${near(e.at, now)}</time><i></i><div><b>${what}</b>${who ? `<span class="n">${esc(who)}</span>` : ""}</div></li>`;
  });
}
