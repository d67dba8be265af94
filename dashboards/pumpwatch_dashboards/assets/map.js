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
  const mean = (list, of) => { const known = list.map(of).filter(Number.isFinite); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0; };
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
  const across = Array.from({ length: rows.length + 1 }, (_, j) => { const w = wave(r, Math.min(15, H / 12), span); return (x) => edge + j * H + w(x) * (j % rows.length ? 1 : 0.4); });
  const outlines = [], towns = [], spots = new Map();
  rows.forEach((row, j) => {
    const width = span / Math.max(1, row.length);
    const down = Array.from({ length: row.length + 1 }, (_, i) => { const w = wave(r, Math.min(15, width / 12), span); return (y) => edge + i * width + w(y) * (i % row.length ? 1 : 0.4); });
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
  const east = (s) => (s.longitude ?? NaN) - t.lon, north = (s) => (s.latitude ?? NaN) - t.lat, fx = far(east), fy = far(north), one = t.stations.length === 1;
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
    for (const p of list) { p[0] = Math.max(x0 + 0.1 * w, Math.min(x0 + 0.9 * w, p[0])); p[1] = Math.max(y0 + 0.06 * h, Math.min(y0 + 0.94 * h, p[1])); }
  }
  return at;
}

const wide = (text, f) => [...text].reduce((sum, c) => sum + (c > "ÿ" ? 1 : 0.62), 0) * f;

/** The map as SVG for a box `px` wide; the worst unacknowledged alarm carries its station's name, the others their ids where there is room. */
export function draw({ outlines, towns, spots }, county, px) {
  const u = W / px, far = px > 500, worst = county.stations.map((s) => [s, county.worst(s)]).filter(([, a]) => a);
  let g = outlines.map((d) => `<path d="${d}" fill="var(--pw-raised)" stroke="var(--pw-edge)" stroke-width="${0.9 * u}"/>`).join("");
  const small = far ? 15 : 13;
  for (const t of towns) if (wide(t.label, small * u) < t.width) g += `<text x="${t.x}" y="${t.y}" text-anchor="middle" style="font-size:${small * u}px;fill:var(--pw-ink-3);paint-order:stroke;stroke:var(--pw-raised);stroke-width:${4 * u}px">${esc(t.label)}</text>`;
  const taken = towns.map((t) => { const w = wide(t.label, small * u); return [t.x - w / 2, t.y - small * u, w, small * u * 1.3]; });
  const k = (far ? 1.35 : 1) * u;
  for (const s of county.stations) {
    const [x, y] = spots.get(s.id), q = county.frame ? county.frame.quality[s.index] : OFFLINE;
    if (!county.frame) g += `<circle cx="${x}" cy="${y}" r="${3.6 * k}" fill="none" stroke="var(--pw-line)" stroke-width="${1.2 * k}"/>`;
    else if (q === OFFLINE) g += `<circle cx="${x}" cy="${y}" r="${5.4 * k}" fill="var(--pw-raised)" stroke="var(--pw-ink)" stroke-width="${1.2 * k}" stroke-dasharray="${2.4 * k} ${1.8 * k}"/>`;
    else if (q !== GOOD) g += `<circle cx="${x}" cy="${y}" r="${5.4 * k}" fill="var(--pw-raised)" stroke="var(--pw-ink)" stroke-width="${1.2 * k}"/>
      <path d="M${x} ${y - 3 * k}V${y}H${x + 2.4 * k}" stroke="var(--pw-ink)" stroke-width="${1.1 * k}" fill="none"/>`;
    else g += `<circle cx="${x}" cy="${y}" r="${3.6 * k}" fill="var(--pw-run-2)"/>`;
  }
  const sizeOf = (a) => (a.state === "active" ? 28 : 18) * k;
  for (const [s, a] of worst) { const [x, y] = spots.get(s.id), m = sizeOf(a); taken.push([x - m / 2, y - m / 2, m, m]); }
  const free = (box) => box[0] > 4 && box[0] + box[2] < W - 4 && box[1] > 4 && box[1] + box[3] < W - 4 && !taken.some((o) => box[0] < o[0] + o[2] && o[0] < box[0] + box[2] && box[1] < o[1] + o[3] && o[1] < box[1] + box[3]);
  const put = (x, y, m, w, h) => [[x + m / 2 + 3 * u, y - h / 2, w, h], [x - m / 2 - 3 * u - w, y - h / 2, w, h], [x - w / 2, y - m / 2 - 3 * u - h, w, h], [x - w / 2, y + m / 2 + 3 * u, w, h]].find(free);
  let top = "";
  const first = worst.filter(([, a]) => a.state === "active").sort((p, q) => county.alarms.indexOf(p[1]) - county.alarms.indexOf(q[1]))[0];
  for (const [s, a] of [...worst].sort((p) => (p === first ? -1 : 1))) {
    const [x, y] = spots.get(s.id), p = priority(a), m = sizeOf(a), mine = first && s === first[0];
    const f = (mine ? (far ? 25 : 15) : small) * u, text = mine ? name(s) : s.id, h = f * 1.5, box = put(x, y, m, wide(text, f) + (mine ? 10 * u : 0), h);
    const svg = `<svg x="${x - m / 2}" y="${y - m / 2}" width="${m}" height="${m}" viewBox="0 0 24 24" overflow="visible">${bare(mark(p, MARK[a.state], 24))}</svg>`;
    let label = "";
    if (box) {
      taken.push(box);
      label = mine
        ? `<rect x="${box[0]}" y="${box[1]}" width="${box[2]}" height="${h}" fill="var(--pw-p${p})" stroke="var(--pw-mark-edge)"/>
          <text x="${box[0] + box[2] / 2}" y="${box[1] + f * 1.08}" text-anchor="middle" style="font-size:${f}px;font-weight:700;fill:var(--pw-on-p${p})">${esc(text)}</text>`
        : `<text x="${box[0]}" y="${box[1] + f * 1.1}" style="font-size:${f}px;fill:var(--pw-ink);paint-order:stroke;stroke:var(--pw-raised);stroke-width:${3 * u}px">${esc(text)}</text>`;
    }
    top = mine ? top + svg + label : svg + label + top;
  }
  return `<svg viewBox="0 0 ${W} ${W}" role="img" aria-label="${esc(worst.map(([s]) => name(s)).join(", "))}">${g}${top}</svg>`;
}
