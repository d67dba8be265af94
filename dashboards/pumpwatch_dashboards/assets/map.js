/* The district map: towns on a lattice in the order of their latitude and longitude, with an invented outline, stations as points. */
import { GOOD, OFFLINE, name, town } from "./county.js";
import { MARK, bare, mark, priority } from "./marks.js";
import { esc } from "./words.js";

const W = 900;

/* the same invented outline on every load */
function dice(seed) {
  let h = seed;
  return () => { h = (h * 16807) % 2147483647; return h / 2147483647 - 0.5; };
}
/** A wavy line through 0 at its ends' height, as wide as `swing`. */
function wave(r, swing, length) {
  const waves = [1.3, 2.7, 5.1, 9.7].map((f) => [f, r() * 6.28, (r() + 0.75) / f]);
  return (t) => swing * waves.reduce((sum, [f, phase, size]) => sum + size * Math.sin((t / length) * 6.28 * f + phase), 0);
}

/** Rows of towns from north to south, in each from west to east. */
function lattice(stations) {
  const towns = new Map();
  for (const s of stations) {
    const key = s.town || "—";
    if (!towns.has(key)) towns.set(key, { key, label: town(s), stations: [], lat: 0, lon: 0 });
    towns.get(key).stations.push(s);
  }
  const all = [...towns.values()];
  const mean = (list, of) => {
    const known = list.map(of).filter(Number.isFinite);
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0;
  };
  for (const t of all) { t.lat = mean(t.stations, (s) => s.latitude ?? NaN); t.lon = mean(t.stations, (s) => s.longitude ?? NaN); }
  all.sort((a, b) => b.lat - a.lat);
  const rows = Math.max(1, Math.round(Math.sqrt(all.length))), out = [];
  for (let j = 0, from = 0; j < rows; j++) {
    const count = Math.floor(((j + 1) * all.length) / rows) - Math.floor((j * all.length) / rows);
    out.push(all.slice(from, from + count).sort((a, b) => a.lon - b.lon));
    from += count;
  }
  return out;
}

/** Where everything stands in a 900 × 900 field; made once a layout. */
export function plan(stations) {
  const rows = lattice(stations), r = dice(7), edge = 16, span = W - 2 * edge, H = span / Math.max(1, rows.length);
  /* borders between `count` fields of this size: where each lies at a place along it; the outermost are calmer */
  const borders = (count, size) => Array.from({ length: count + 1 }, (_, k) => {
    const w = wave(r, Math.min(15, size / 12), span);
    return (t) => edge + k * size + w(t) * (k % count ? 1 : 0.4);
  });
  const across = borders(rows.length, H);
  const outlines = [], towns = [], spots = new Map();
  rows.forEach((row, j) => {
    const width = span / Math.max(1, row.length);
    const down = borders(row.length, width);
    row.forEach((t, i) => {
      const [x0, x1, y0, y1] = [edge + i * width, edge + (i + 1) * width, edge + j * H, edge + (j + 1) * H], points = [], n = 12;
      const corner = (side, line) => { const x = down[side](line === j ? y0 : y1); return [x, across[line](x)]; };
      const [a, b, c, d] = [corner(i, j), corner(i + 1, j), corner(i + 1, j + 1), corner(i, j + 1)];
      for (let k = 0; k <= n; k++) { const x = a[0] + ((b[0] - a[0]) * k) / n; points.push([x, across[j](x)]); }
      for (let k = 1; k < n; k++) { const y = y0 + (H * k) / n; points.push([down[i + 1](y), y]); }
      for (let k = 0; k <= n; k++) { const x = c[0] + ((d[0] - c[0]) * k) / n; points.push([x, across[j + 1](x)]); }
      for (let k = n - 1; k > 0; k--) { const y = y0 + (H * k) / n; points.push([down[i](y), y]); }
      outlines.push(`M${points.map((p) => p.map((v) => v.toFixed(0)).join(" ")).join("L")}Z`);
      towns.push({ x: (x0 + x1) / 2, y: y0 + H * 0.17, label: t.label, width });
      spread(t, x0, y0 + H * 0.24, width, H * 0.7).forEach((at, s) => spots.set(s, at));
    });
  });
  return { outlines, towns, spots };
}

/** The stations of a town inside its field, as they lie to one another, pushed apart until none hides another. */
function spread(t, x0, y0, w, h) {
  const at = new Map(), far = (of) => Math.max(1e-9, ...t.stations.map((s) => Math.abs(of(s))).filter(Number.isFinite));
  const east = (s) => (s.longitude ?? NaN) - t.lon, north = (s) => (s.latitude ?? NaN) - t.lat;
  const fx = far(east), fy = far(north), one = t.stations.length === 1;
  t.stations.forEach((s, i) => {
    const known = Number.isFinite(east(s)) && Number.isFinite(north(s)), turn = i * 2.4, out = 0.9 * Math.sqrt((i + 0.5) / t.stations.length);
    const [u, v] = one ? [0, 0] : known ? [east(s) / fx, -north(s) / fy] : [out * Math.cos(turn), out * Math.sin(turn)];
    at.set(s.id, [x0 + w * (0.5 + 0.36 * u), y0 + h * (0.5 + 0.36 * v)]);
  });
  const list = [...at.values()], least = Math.min(46, 0.7 * Math.sqrt((w * h) / Math.max(1, list.length)));
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < list.length; i++) for (let k = i + 1; k < list.length; k++) {
      const [a, b] = [list[i], list[k]], dx = b[0] - a[0] || 0.1 * (k - i), dy = b[1] - a[1], d = Math.hypot(dx, dy);
      if (d < least) { const push = (least - d) / 2 / d; a[0] -= dx * push; a[1] -= dy * push; b[0] += dx * push; b[1] += dy * push; }
    }
    for (const p of list) {
      p[0] = Math.max(x0 + 0.1 * w, Math.min(x0 + 0.9 * w, p[0]));
      p[1] = Math.max(y0 + 0.06 * h, Math.min(y0 + 0.94 * h, p[1]));
    }
  }
  return at;
}

const wide = (text, f) => [...text].reduce((sum, c) => sum + (c > "ÿ" ? 1 : 0.62), 0) * f;

/** A station without an alarm: a dot; a clock when its data are old, a broken ring when it is silent, a thin ring before the first frame. */
function spot(x, y, quality, k) {
  const ring = (r, fill, stroke, width, more = "") => `<circle cx="${x}" cy="${y}" r="${r * k}" fill="${fill}" stroke="${stroke}" stroke-width="${width * k}"${more}/>`;
  if (quality === null) return ring(3.6, "none", "var(--pw-line)", 1.2);
  if (quality === GOOD) return `<circle cx="${x}" cy="${y}" r="${3.6 * k}" fill="var(--pw-run-2)"/>`;
  if (quality === OFFLINE) return ring(5.4, "var(--pw-raised)", "var(--pw-ink)", 1.2, ` stroke-dasharray="${2.4 * k} ${1.8 * k}"`);
  const hands = `M${x} ${y - 3 * k}V${y}H${x + 2.4 * k}`;
  return `${ring(5.4, "var(--pw-raised)", "var(--pw-ink)", 1.2)}<path d="${hands}" stroke="var(--pw-ink)" stroke-width="${1.1 * k}" fill="none"/>`;
}

/** The map as SVG for a box `px` wide; the worst unacknowledged alarm carries its station's name, the others their ids where there is room. */
export function draw({ outlines, towns, spots }, county, px) {
  const u = W / px, far = px > 500, k = (far ? 1.35 : 1) * u, small = (far ? 15 : 13) * u, taken = [];
  const halo = (width) => `paint-order:stroke;stroke:var(--pw-raised);stroke-width:${width * u}px`;
  let g = outlines.map((d) => `<path d="${d}" fill="var(--pw-raised)" stroke="var(--pw-edge)" stroke-width="${0.9 * u}"/>`).join("");
  for (const t of towns) {
    const w = wide(t.label, small);
    if (w > t.width) continue;
    taken.push([t.x - w / 2, t.y - small, w, small * 1.3]);
    g += `<text x="${t.x}" y="${t.y}" text-anchor="middle" style="font-size:${small}px;fill:var(--pw-ink-3);${halo(4)}">${esc(t.label)}</text>`;
  }
  for (const s of county.stations) g += spot(...spots.get(s.id), county.frame ? county.frame.quality[s.index] : null, k);

  const worst = county.stations.map((s) => [s, county.worst(s)]).filter(([, a]) => a);
  const first = worst.filter(([, a]) => a.state === "active").sort((p, q) => county.alarms.indexOf(p[1]) - county.alarms.indexOf(q[1]))[0];
  const sizeOf = (a) => (a.state === "active" ? 28 : 18) * k;
  for (const [s, a] of worst) { const [x, y] = spots.get(s.id), m = sizeOf(a); taken.push([x - m / 2, y - m / 2, m, m]); }
  const meets = (a, b) => a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];
  const free = (b) => b[0] > 4 && b[0] + b[2] < W - 4 && b[1] > 4 && b[1] + b[3] < W - 4 && !taken.some((o) => meets(b, o));
  let top = "";
  for (const [s, a] of [...worst].sort((p) => (p === first ? -1 : 1))) {
    const [x, y] = spots.get(s.id), p = priority(a), m = sizeOf(a), mine = Boolean(first) && s === first[0], gap = m / 2 + 3 * u;
    const label = mine ? name(s) : s.id, f = mine ? (far ? 25 : 15) * u : small, h = f * 1.5, w = wide(label, f) + (mine ? 10 * u : 0);
    const at = [[x + gap, y - h / 2], [x - gap - w, y - h / 2], [x - w / 2, y - gap - h], [x - w / 2, y + gap]].map(([bx, by]) => [bx, by, w, h]).find(free);
    const svg = `<svg x="${x - m / 2}" y="${y - m / 2}" width="${m}" height="${m}" viewBox="0 0 24 24" overflow="visible">${bare(mark(p, MARK[a.state], 24))}</svg>`;
    const said = at ? (mine ? plate(at, label, f, p) : `<text x="${at[0]}" y="${at[1] + f * 1.1}" style="font-size:${f}px;fill:var(--pw-ink);${halo(3)}">${esc(label)}</text>`) : "";
    if (at) taken.push(at);
    top = mine ? top + svg + said : svg + said + top;
  }
  return `<svg viewBox="0 0 ${W} ${W}" role="img" aria-label="${esc(worst.map(([s]) => name(s)).join(", "))}">${g}${top}</svg>`;
}
function plate([x, y, w, h], label, f, p) {
  const style = `font-size:${f}px;font-weight:700;fill:var(--pw-on-p${p})`;
  return `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="var(--pw-p${p})" stroke="var(--pw-mark-edge)"/><text x="${x + w / 2}" y="${y + f * 1.08}" text-anchor="middle" style="${style}">${esc(label)}</text>`;
}
