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
  const said = (zh, en, other) => L(`${zh}${d > other ? "少" : "多"} ${n2(Math.abs(d - other))} L`, `${en} ${n2(Math.abs(d - other))} L ${d > other ? "less" : "more"}`);
  if (e > 0 && differ(d, e)) return said("编码器", "encoder", e);
  if (x > 0 && differ(d, x)) return said("税控", "tax", x);
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

/* scales widen by steps, never to the data: or 0.02 % would look like a disaster */
const SCALE = [1, 3, 5, 10, 25, 100];
const widen = (values, least) => SCALE.find((s) => s >= least && values.every((v) => v <= s)) ?? SCALE.at(-1);
const text = (x, y, said, { end = "", bold = false } = {}) =>
  `<text${bold ? ' class="b"' : ""} x="${x}" y="${y}"${end ? ` text-anchor="${end}"` : ""}>${said}</text>`;
const box = (x0, y0, x1, y1, fill) => `<rect x="${x0}" y="${y0}" width="${x1 - x0}" height="${y1 - y0}" fill="${fill}"/>`;
const signedTick = (v, unit = "") => (v ? `${v > 0 ? "+" : "−"}${Math.abs(v)}${unit}` : "0");

/** Each nozzle's pooled error with its 95 % interval against the tolerance band, nozzles in their order; `w` × at most `h` pixels. */
export function errors(nozzles, known, { alarmOf, w, h }) {
  const by = new Map(known.map((k) => [k.nozzle_id, k])), found = known.filter((k) => k.error !== null);
  const hi = widen(found.map((k) => k.high), 3), lo = -widen(found.map((k) => -k.low), 1), step = [1, 2, 5, 10, 25, 50].find((s) => (hi - lo) / s <= 5);
  const x0 = 58, x1 = w - 78, top = 40, rh = Math.max(18, Math.min(40, (h - top - 40) / nozzles.length)), foot = top + rh * nozzles.length, H = foot + 40;
  const X = (v) => x0 + ((Math.max(lo, Math.min(hi, v)) - lo) / (hi - lo)) * (x1 - x0), band = [X(-TOLERANCE), X(TOLERANCE)], name = x0 - 14, figure = w - 2;
  let g = box(band[0], top - 2, band[1], foot + 2, "var(--pw-band)");
  for (let v = Math.ceil(lo / step) * step; v <= hi; v += step) {
    g += `<path class="${v ? "ln" : "ax"}" d="M${X(v)} ${top - 2}V${foot + 2}"/>${text(X(v), foot + 17, signedTick(v), { end: "middle" })}`;
  }
  g += text(X(0), 12, L("允差", "tolerance"), { end: "middle" }) + text(X(0), 28, "±0.30%", { end: "middle" });
  g += text(x0, H - 5, L("← 多付", "← gives more")) + text(x1, H - 5, L("少付（消费者吃亏）→", "customer short →"), { end: "end" });
  g += text(name, 28, L("枪", "nozzle"), { end: "end" }) + text(figure, 28, L("误差", "error"), { end: "end" });
  nozzles.forEach((n, i) => {
    const y = top + i * rh + rh / 2, k = by.get(n.nozzle_id), e = k?.error ?? null;
    if (e === null) {
      const few = k?.sales ? L(`样本不足（${k.sales}笔，需 5 笔）`, `too few sales (${k.sales} of 5)`) : L("没有可比对的加油", "no sale to compare");
      g += text(name, y + 4, esc(n.number), { end: "end" }) + text(band[1] + 8, y + 4, few) + text(figure, y + 4, "—", { end: "end" });
      return;
    }
    const out = k.low > TOLERANCE || k.high < -TOLERANCE, a = out ? alarmOf(n.nozzle_id) : null, colour = out ? "var(--pw-ink)" : "var(--pw-run)";
    if (a) g += box(0, y - rh / 2 + 1, w, y + rh / 2 - 1, `var(--pw-p${priority(a)}-soft)`) + box(band[0], y - rh / 2 + 1, band[1], y + rh / 2 - 1, "var(--pw-band)");
    const ends = [k.low, k.high].map((v) => `M${X(v)} ${y - 5}V${y + 5}`).join("");
    g += text(name, y + 4, esc(n.number), { end: "end", bold: out }) + text(figure, y + 4, pct(e), { end: "end", bold: out });
    g += `<path d="M${X(k.low)} ${y}H${X(k.high)}${ends}" stroke="${colour}" stroke-width="${out ? 3 : 1.6}"/>`;
    g += a
      ? `<svg x="${X(e) - 10}" y="${y - 10}" width="20" height="20" viewBox="0 0 24 24">${bare(mark(priority(a), MARK[a.state], 20, false))}</svg>`
      : `<circle cx="${X(e)}" cy="${y}" r="${out ? 5 : 4}" fill="${colour}"/>`;
  });
  return `<svg width="${w}" height="${H}" viewBox="0 0 ${w} ${H}" role="img">${g}</svg>`;
}

/** Each known sale of a nozzle: its size against its error, with the tolerance band. */
export function scatter(list, w, h) {
  const known = list.filter((s) => num(s.encoder_l) > 0), e = known.map(errorOf), hi = widen(e, 1), lo = -widen(e.map((v) => -v), 1);
  const most = Math.ceil(Math.max(20, ...known.map((s) => s.volume_l)) / 10) * 10, step = [0.5, 1, 2, 5, 10, 50].find((s) => (hi - lo) / s <= 6);
  const x0 = 48, x1 = w - 8, y0 = 12, y1 = h - 40, X = (v) => x0 + (v / most) * (x1 - x0), Y = (v) => y1 - ((v - lo) / (hi - lo)) * (y1 - y0);
  let g = box(x0, Y(TOLERANCE), x1, Y(-TOLERANCE), "var(--pw-band)");
  for (let v = Math.ceil(lo / step) * step; v <= hi + 1e-9; v += step) {
    g += `<path class="${v ? "ln" : "ax"}" d="M${x0} ${Y(v)}H${x1}"/>${text(x0 - 8, Y(v) + 4, signedTick(v, "%"), { end: "end" })}`;
  }
  for (let v = 0; v <= most; v += most > 80 ? 20 : 10) g += text(X(v), y1 + 18, v, { end: "middle" });
  g += text(x1, h - 3, L("显示量 L", "displayed volume, L"), { end: "end" }) + text(x1 - 4, Y(-TOLERANCE) + 15, L("允差 ±0.30%", "tolerance ±0.30%"), { end: "end" });
  known.forEach((s, i) => {
    const look = outside(s) ? 'r="3.4" fill="var(--pw-ink)"' : 'r="2.8" fill="none" stroke="var(--pw-run)" stroke-width="1.2"';
    g += `<circle cx="${X(s.volume_l).toFixed(1)}" cy="${Y(e[i]).toFixed(1)}" ${look}/>`;
  });
  return `<svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" role="img">${g}</svg>`;
}
