/* Small drawn things: alarm marks (priority by shape, number and colour; state by fill), nozzle cells, three-channel strips. */
import { NOZZLE_STATE, PRIORITY, esc, priorityWord } from "./words.js";

const SHAPE = { 1: "M12 1 23 12 12 23 1 12Z", 2: "M12 2 23 21.5H1Z", 3: "M3 3H21V21H3Z", 4: "M12 2A10 10 0 1 1 11.99 2Z" };
export const MARK = { active: "unack", acknowledged: "ack", returned: "rtn", cleared: "quiet" };
export const priority = (alarm) => PRIORITY[alarm.severity] ?? 0;

/** `state` is a value of MARK; an event (priority 0) has no mark. */
export function mark(p, state = "unack", size = 20, blink = true) {
  if (!p) return "";
  const d = SHAPE[p], y = p === 2 ? 19.2 : 16.7;
  const open = `<svg class="mk" width="${size}" height="${size}" viewBox="0 0 24 24" role="img" aria-label="${esc(priorityWord(p))}">`;
  if (state === "quiet") {
    return `${open}<path d="${d}" fill="none" stroke="var(--pw-ink-3)" stroke-width="2" stroke-dasharray="3 2"/>${number(p, y, size, "var(--pw-ink-3)")}</svg>`;
  }
  const new_ = state === "unack", fill = new_ ? `var(--pw-p${p})` : "var(--pw-raised)", ink = new_ ? `var(--pw-on-p${p})` : "var(--pw-ink)";
  const ring = new_ ? "" : `<path d="${d}" fill="${fill}" stroke="var(--pw-p${p})" stroke-width="3"${state === "rtn" ? ' stroke-dasharray="4 2.5"' : ""} stroke-linejoin="round"/>`;
  return `${open}<g class="mkg${new_ && blink ? " pw-blink" : ""}"><path d="${d}" fill="${fill}" stroke="var(--pw-mark-edge)" stroke-width="${new_ ? 1.4 : 5.4}" stroke-linejoin="round"/>${ring}</g>${number(p, y, size, ink)}</svg>`;
}
const number = (p, y, size, ink) => (size >= 14 ? `<text class="mkn" x="12" y="${y}" style="fill:${ink}">${p}</text>` : "");
export const bare = (svg) => svg.replace(/<\/?svg[^>]*>/g, "");
/** Custom properties of a thing that is alarmed. */
export const alarmColours = (p) => (p ? `--ac:var(--pw-p${p});--as:var(--pw-p${p}-soft);--ao:var(--pw-on-p${p})` : "");

export const cellClass = (state, alarmed) => `nz ${(NOZZLE_STATE[state] ?? NOZZLE_STATE[6])[0]}${alarmed ? " alarm" : ""}`;

const CLAMP = 3;
/** Displayed volume against encoder (dot) and tax (diamond) on a ±3 % scale with the tolerance band; plus = customer short. */
export function strip(shown, encoder, tax, width = 170) {
  const middle = width / 2, reach = middle - 11, X = (v) => middle + (v / CLAMP) * reach;
  const error = (v) => Math.max(-CLAMP, Math.min(CLAMP, ((shown - v) / v) * 100));
  const known = (v) => Number.isFinite(v) && v > 0;
  let g = `<rect x="${X(-0.3)}" y="3" width="${X(0.3) - X(-0.3)}" height="22" fill="var(--pw-band)"/>
    <path class="ax" d="M${X(-CLAMP)} 14H${X(CLAMP)}"/><path class="ax" d="M${middle} 4V24" stroke-width="2"/>`;
  if (known(tax)) g += `<path d="M${X(error(tax)) - 6} 14l6-6 6 6-6 6Z" fill="none" stroke="var(--pw-ink)" stroke-width="1.5"/>`;
  if (known(encoder)) g += `<circle cx="${X(error(encoder))}" cy="14" r="${Math.abs(error(encoder)) > 0.6 ? 6 : 3.5}" fill="var(--pw-ink)"/>`;
  return `<svg class="strip" width="${width}" height="28" viewBox="0 0 ${width} 28" aria-hidden="true">${g}</svg>`;
}
