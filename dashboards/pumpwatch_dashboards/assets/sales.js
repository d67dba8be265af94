/* Sales in three channels, and what they say of each nozzle: the table of the latest ones and the chart of pooled errors. */
import { L, esc, grade, n2, near, pct } from "./words.js";
import { alarmColours, bare, mark, MARK, priority, strip } from "./marks.js";

export const TOLERANCE = 0.3;
const STEP_L = 0.02; // two steps of the display: below this a difference is rounding
const num = (v) => (typeof v === "number" && Number.isFinite(v) ? v : NaN);
const differ = (a, b) => Math.abs(a - b) > Math.max((TOLERANCE / 100) * b, STEP_L);
export const errorOf = (s) => (num(s.encoder_l) > 0 ? ((s.volume_l - s.encoder_l) / s.encoder_l) * 100 : NaN);
export const outside = (s) => num(s.encoder_l) > 0 && differ(s.volume_l, s.encoder_l);

function result(s) {
  const d = s.volume_l, e = num(s.encoder_l), x = num(s.tax_l);
  if (e > 0 && differ(d, e)) return d > e ? L(`编码器少 ${n2(d - e)} L`, `encoder ${n2(d - e)} L less`) : L(`编码器多 ${n2(e - d)} L`, `encoder ${n2(e - d)} L more`);
  if (x > 0 && differ(d, x)) return d > x ? L(`税控少 ${n2(d - x)} L`, `tax ${n2(d - x)} L less`) : L(`税控多 ${n2(x - d)} L`, `tax ${n2(x - d)} L more`);
  if (!(e > 0) && !(x > 0)) return L("无可比对", "nothing to compare");
  if (!(x > 0)) return L("税控未上传", "tax record missing");
  if (!(e > 0)) return L("编码器未上传", "encoder missing");
  return L("一致", "agree");
}
const channel = (v) => (num(v) >= 0 ? n2(v) : `<span class="tag">${L("缺", "none")}</span>`);

/** Rows of the table; a nozzle's rows are coloured only when it is alarmed, otherwise a difference is bold. */
export function table(list, { now, alarmOf, withNozzle = true }) {
  const rows = list.map((s) => {
    const a = alarmOf(s.nozzle_id), out = outside(s), bad = out && a;
    return `<tr class="${bad ? "bad" : out ? "out" : ""}"${bad ? ` style="${alarmColours(priority(a))}"` : ""}>
      <td class="l c-time">${bad ? mark(priority(a), "ack", 15) : ""}${near(s.end, now)}</td>
      ${withNozzle ? `<td class="c-nz"><span class="only-phone">${L("枪", "nozzle ")}</span>${esc(s.number ?? "—")}</td>
      <td class="l c-grade">${esc(grade(s.grade))}</td>` : ""}<td class="c-shown">${n2(s.volume_l)}</td>
      <td class="c-enc">${channel(s.encoder_l)}</td><td class="c-tax">${channel(s.tax_l)}</td>
      <td class="m c-strip">${strip(s.volume_l, num(s.encoder_l), num(s.tax_l))}</td><td class="c-err">${pct(errorOf(s))}</td>
      <td class="c-price">${n2(s.unit_price)}</td><td class="c-sum">${n2(s.amount_cny)}</td><td class="l c-say">${result(s)}</td></tr>`;
  }).join("");
  return `<table class="t sales"><thead><tr><th class="l">${L("时间", "time")}</th>${withNozzle ? `<th>${L("枪", "nozzle")}</th>
    <th class="l">${L("油品", "grade")}</th>` : ""}<th>${L("显示", "displayed")} L</th><th>${L("编码器", "encoder")} L</th>
    <th>${L("税控", "tax")} L</th><th class="m"><span>−3%</span><span>0</span><span>+3%</span></th><th>${L("误差", "error")}</th>
    <th>${L("单价", "price")} ¥</th><th>${L("金额", "amount")} ¥</th><th class="l">${L("结论", "result")}</th></tr></thead>
    <tbody>${rows}</tbody></table>`;
}

/** Each nozzle's pooled error with its 95 % interval against the tolerance band, nozzles in their order; `w` × at most `h` pixels. */
export function errors(nozzles, known, { alarmOf, w, h }) {
  const by = new Map(known.map((k) => [k.nozzle_id, k])), x0 = 58, x1 = w - 78, top = 40;
  const found = known.filter((k) => k.error !== null), reach = (v, steps) => steps.find((s) => Math.abs(v) <= s) ?? steps.at(-1);
  const hi = reach(Math.max(3, ...found.map((k) => k.high)), [3, 5, 10, 25, 100]), lo = -reach(Math.min(-1, ...found.map((k) => k.low)), [1, 3, 5, 10, 25, 100]);
  const step = [1, 2, 5, 10, 25, 50].find((s) => (hi - lo) / s <= 5), rh = Math.max(18, Math.min(40, (h - top - 40) / nozzles.length)), H = top + rh * nozzles.length + 40;
  const X = (v) => x0 + ((Math.max(lo, Math.min(hi, v)) - lo) / (hi - lo)) * (x1 - x0), foot = top + rh * nozzles.length;
  let g = `<rect x="${X(-TOLERANCE)}" y="${top - 2}" width="${X(TOLERANCE) - X(-TOLERANCE)}" height="${foot - top + 4}" fill="var(--pw-band)"/>`;
  for (let v = Math.ceil(lo / step) * step; v <= hi; v += step) g += `<path class="${v ? "ln" : "ax"}" d="M${X(v)} ${top - 2}V${foot + 2}"/>
    <text x="${X(v)}" y="${foot + 17}" text-anchor="middle">${v ? (v > 0 ? "+" : "−") + Math.abs(v) : "0"}</text>`;
  g += `<text x="${X(0)}" y="12" text-anchor="middle">${L("允差", "tolerance")}</text><text x="${X(0)}" y="28" text-anchor="middle">±0.30%</text><text x="${x0}" y="${H - 5}">${L("← 多付", "← gives more")}</text><text x="${x1}" y="${H - 5}" text-anchor="end">${L("少付（消费者吃亏）→", "customer short →")}</text><text x="${x0 - 14}" y="28" text-anchor="end">${L("枪", "nozzle")}</text><text x="${w - 2}" y="28" text-anchor="end">${L("误差", "error")}</text>`;
  nozzles.forEach((n, i) => {
    const y = top + i * rh + rh / 2, k = by.get(n.nozzle_id), e = k?.error ?? null;
    if (e === null) {
      g += `<text x="${x0 - 14}" y="${y + 4}" text-anchor="end">${esc(n.number)}</text><text x="${X(TOLERANCE) + 8}" y="${y + 4}">${k?.sales ? L(`样本不足（${k.sales}笔，需 5 笔）`, `too few sales (${k.sales} of 5)`) : L("没有可比对的加油", "no sale to compare")}</text><text x="${w - 2}" y="${y + 4}" text-anchor="end">—</text>`;
      return;
    }
    const out = k.low > TOLERANCE || k.high < -TOLERANCE, a = out ? alarmOf(n.nozzle_id) : null, colour = out ? "var(--pw-ink)" : "var(--pw-run)", b = out ? "b" : "";
    if (a) g += `<rect x="0" y="${y - rh / 2 + 1}" width="${w}" height="${rh - 2}" fill="var(--pw-p${priority(a)}-soft)"/>
      <rect x="${X(-TOLERANCE)}" y="${y - rh / 2 + 1}" width="${X(TOLERANCE) - X(-TOLERANCE)}" height="${rh - 2}" fill="var(--pw-band)"/>`;
    g += `<text class="${b}" x="${x0 - 14}" y="${y + 4}" text-anchor="end">${esc(n.number)}</text><path d="M${X(k.low)} ${y}H${X(k.high)}M${X(k.low)} ${y - 5}V${y + 5}M${X(k.high)} ${y - 5}V${y + 5}" stroke="${colour}" stroke-width="${out ? 3 : 1.6}"/>`;
    g += a ? `<svg x="${X(e) - 10}" y="${y - 10}" width="20" height="20" viewBox="0 0 24 24">${bare(mark(priority(a), MARK[a.state], 20, false))}</svg>` : `<circle cx="${X(e)}" cy="${y}" r="${out ? 5 : 4}" fill="${colour}"/>`;
    g += `<text class="${b}" x="${w - 2}" y="${y + 4}" text-anchor="end">${pct(e)}</text>`;
  });
  return `<svg width="${w}" height="${H}" viewBox="0 0 ${w} ${H}" role="img">${g}</svg>`;
}

/** Each known sale of a nozzle: its size against its error, with the tolerance band. */
export function scatter(list, w, h) {
  const known = list.filter((s) => num(s.encoder_l) > 0), e = known.map(errorOf), x0 = 48, x1 = w - 8, y0 = 12, y1 = h - 40;
  const hi = [1, 3, 5, 10, 25].find((v) => Math.max(1, ...e) <= v) ?? 100, lo = -([1, 3, 5, 10, 25].find((v) => Math.max(1, ...e.map((v) => -v)) <= v) ?? 100), most = Math.ceil(Math.max(20, ...known.map((s) => s.volume_l)) / 10) * 10;
  const X = (v) => x0 + (v / most) * (x1 - x0), Y = (v) => y1 - ((v - lo) / (hi - lo)) * (y1 - y0), step = [0.5, 1, 2, 5, 10, 50].find((s) => (hi - lo) / s <= 6);
  let g = `<rect x="${x0}" y="${Y(TOLERANCE)}" width="${x1 - x0}" height="${Y(-TOLERANCE) - Y(TOLERANCE)}" fill="var(--pw-band)"/>`;
  for (let v = Math.ceil(lo / step) * step; v <= hi + 1e-9; v += step) g += `<path class="${v ? "ln" : "ax"}" d="M${x0} ${Y(v)}H${x1}"/>
    <text x="${x0 - 8}" y="${Y(v) + 4}" text-anchor="end">${v ? `${v > 0 ? "+" : "−"}${Math.abs(v)}%` : "0"}</text>`;
  for (let v = 0; v <= most; v += most > 80 ? 20 : 10) g += `<text x="${X(v)}" y="${y1 + 18}" text-anchor="middle">${v}</text>`;
  g += `<text x="${x1}" y="${h - 3}" text-anchor="end">${L("显示量 L", "displayed volume, L")}</text><text x="${x1 - 4}" y="${Y(-TOLERANCE) + 15}" text-anchor="end">${L("允差 ±0.30%", "tolerance ±0.30%")}</text>`;
  known.forEach((s, i) => { g += outside(s) ? `<circle cx="${X(s.volume_l).toFixed(1)}" cy="${Y(e[i]).toFixed(1)}" r="3.4" fill="var(--pw-ink)"/>` : `<circle cx="${X(s.volume_l).toFixed(1)}" cy="${Y(e[i]).toFixed(1)}" r="2.8" fill="none" stroke="var(--pw-run)" stroke-width="1.2"/>`; });
  return `<svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" role="img">${g}</svg>`;
}
