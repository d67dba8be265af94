/* What stands on a station besides nozzles: tanks as measured, and each device's identity against the register. */
import { L, esc, grade, n0, n1, qualityTag } from "./words.js";
import { dispenserWord, short } from "./forecourt.js";

const FULL_PX = 92, BAD = 0x80;

function gauge(level, water) {
  const top = 2 + (1 - level) * FULL_PX, known = Number.isFinite(level), foot = 2 + FULL_PX - water;
  return [
    '<svg width="58" height="96" viewBox="0 0 58 96" aria-hidden="true">',
    `<rect x="1" y="2" width="42" height="${FULL_PX}" fill="var(--pw-well)" stroke="var(--pw-edge)"${known ? "" : ' stroke-dasharray="4 3"'}/>`,
    known ? `<rect x="1.5" y="${top}" width="41" height="${FULL_PX * level}" fill="var(--pw-run-2)"/>` : "",
    water ? `<rect x="1.5" y="${foot}" width="41" height="${water}" fill="var(--pw-run)"/>` : "",
    known ? `<path d="M1.5 ${top}H43" stroke="var(--pw-ink)" stroke-width="2"/><path d="M44 ${top}l9-5v10Z" fill="var(--pw-ink)"/>` : "",
    "</svg>",
  ].join("");
}

/** A tank with its figures; the water at its foot is not to scale, the figure beside it is. */
export function tank(t) {
  const known = typeof t.volume_l === "number" && t.capacity_l > 0 && !(t.quality >= BAD);
  const level = known ? Math.max(0, Math.min(1, t.volume_l / t.capacity_l)) : NaN;
  const water = known && typeof t.water_mm === "number" ? Math.max(2, Math.min(20, t.water_mm / 4)) : 0;
  const say = (value, digits, unit) => (known && typeof value === "number" ? `${digits(value)} ${unit}` : "—");
  return `<div class="tank">${gauge(level, water)}<div>
    <b>${L(`${esc(t.number)}号罐`, `${esc(t.number)} ·`)} ${esc(grade(t.grade))}</b>
    <b>${known ? `<span data-live>${n0(t.volume_l)} L</span>` : "—"}${qualityTag(t.quality)}</b>
    <span>${known ? `${Math.round(level * 100)}%` : "—"}</span>
    <span>${say(t.height_mm, n0, "mm")} · ${say(t.temperature_c, n1, "°C")}</span>
    <span>${L("水", "water")} ${say(t.water_mm, n0, "mm")}</span></div></div>`;
}

const FIELDS = [
  ["mainboard_serial", L("主板序列号", "board serial")],
  ["firmware_digest", L("程序摘要", "software digest")],
  ["firmware_version", L("程序版本", "software version")],
  ["serial", L("整机序列号", "dispenser serial")],
  ["tax_serial", L("税控序列号", "tax control serial")],
];

/** One row a field: how many agree, and each that does not by name. `nozzleWord` names a nozzle by its id. */
export function identity(dispensers, nozzleWord) {
  const rows = FIELDS.map(([key, word]) => [word, dispensers.map((d) => pair(dispenserWord(d.dispenser_id), d.registered?.[key], d.observed?.[key], d))]);
  const encoders = dispensers.flatMap((d) => {
    const registered = d.registered?.encoder_serials ?? {}, observed = d.observed?.encoder_serials ?? {};
    const ids = [...new Set([...Object.keys(registered), ...Object.keys(observed)])];
    return ids.map((id) => pair(nozzleWord(id), registered[id], observed[id], d));
  });
  if (encoders.length) rows.splice(3, 0, [L("编码器序列号", "encoder serial"), encoders]);
  return `<div class="idt">${rows.map(([word, pairs]) => row(word, pairs)).join("")}</div>`;
}
const pair = (where, registered, observed, dispenser) => ({ where, registered, observed, read: Boolean(dispenser.observed) });

function row(word, pairs) {
  const both = pairs.filter((p) => p.registered && p.observed), off = both.filter((p) => p.registered !== p.observed);
  const unread = pairs.some((p) => p.registered && !p.read);
  let sum = unread ? L("未读到", "not read") : "—";
  if (both.length) sum = `${both.length}/${pairs.length} ${L("一致", "match")}`;
  if (off.length) sum = L(`${off.length} 处不符`, `${off.length} differ`);
  const named = off.map((p) => [
    `<span class="diff">${esc(p.where)} ${L("备案", "registered")} <code>${esc(short(p.registered))}</code>`,
    `${L("，实测", ", observed")} <code>${esc(short(p.observed))}</code></span>`,
  ].join(""));
  return `<span>${word}</span><span class="v${off.length ? " b" : ""}">${sum}</span>${named.join("")}`;
}
