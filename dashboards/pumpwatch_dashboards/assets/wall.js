/* The wall: is anything new, where, how bad; then who is silent; then everything else, at a glance and without a click. */
import { ALARM_STATE, L, NOZZLE_STATE, age, esc, hm, n0, seconds } from "./words.js";
import { MARK, alarmColours, mark, priority } from "./marks.js";
import { GOOD, OFFLINE, headline, name, place, town } from "./county.js";
import { address, put, putHTML, run } from "./bar.js";
import { facts } from "./feed.js";
import { dutyField, hearAcknowledge } from "./acts.js";
import { Tiles } from "./tiles.js";
import { draw, plan } from "./map.js";

const $ = (id) => document.getElementById(id);
const RATE_LIMIT = 6, HOURS = 24, MOST = 40;
let tiles = null, ground = null, raised = new Map(), phone = false;

function build(county) {
  phone = innerWidth < 700;
  $("main")?.remove();
  const key = NOZZLE_STATE.map(([look, word]) => `<div><div class="nz ${look}" style="--cell:20px"><i>1</i></div>
    ${esc(word)}</div>`).join("");
  document.querySelector(".top").insertAdjacentHTML("afterend", `<main class="wallgrid" id="main">
<section class="box map" aria-label="${L("辖区图", "District map")}">
<h2>${L("辖区图", "District map")}<small>${L("图形为示意，非真实边界", "schematic, not real borders")}</small></h2><div id="map"></div></section>
<section class="box silent"><h2>${L("失联与数据陈旧", "Silent or stale")}<small id="silent-n"></small></h2><div id="silent"></div></section>
<section class="box towns"><h2 data-live>${L("分镇", "By town")}<small>${L("油站在线、加油中、今日销量", "online, fuelling, sold today")}</small></h2>
<div id="towns" data-scroll></div></section>
<section class="box rate"><h2>${L("报警率", "Alarm rate")}<small>${L("次/时 · 24 小时", "per hour · 24 h")}</small></h2><div id="rate"></div>
</section>
<section class="tiles" id="tiles" aria-label="${L("油站", "Stations")}"></section>
<section class="box list"><h2>${L("当前报警", "Current alarms")}<small id="list-n"></small></h2>
<div class="wrong" id="wrong" role="alert" hidden></div>${phone ? dutyField() : ""}<div id="list"></div><div class="past" id="past"></div>
<div class="key">${key}</div></section></main>`);
  ground = plan(county.stations);
  tiles = new Tiles($("tiles"), county, phone);
}

function map(county) {
  const box = $("map"), w = box.clientWidth || 378;
  putHTML(box, draw(ground, county, innerWidth >= 3000 ? Math.min(w, box.clientHeight || w) : w));
}

function row(a, county) {
  const fresh = a.state === "active", p = priority(a), where = esc(place(a, county)), text = esc(headline(a, county));
  const press = `<button class="btn ack" data-ack="${esc(a.id)}">${L("确认", "Ack")}</button>`;
  const who = a.acknowledged_by ? L("已确认 ", "") + a.acknowledged_by : ALARM_STATE[a.state];
  const state = { active: press, returned: `<span class="st">${esc(ALARM_STATE.returned)}</span>${press}` }[a.state] ?? `<span class="el">${esc(who)}</span>`;
  return `<div class="row${fresh ? " un" : ""}" style="${alarmColours(p)}">${mark(p, MARK[a.state], fresh ? 30 : 22)}
    <a class="a el" href="${esc(address("alarms", { alarm: a.id }))}" title="${where}">${where}</a>
    <div class="c" data-age="${esc(a.raised_at)}">${age(county.now() - seconds(a.raised_at))}</div>
    <div class="b el" title="${text}">${text}</div><div class="c">${state}</div></div>`;
}
function pastRow(a, county) {
  const text = esc(`${a.subject?.station_id ?? ""} ${headline(a, county)}`), lasted = seconds(a.returned_at ?? a.cleared_at) - seconds(a.raised_at);
  return `<a class="prow" href="${esc(address("alarms", { alarm: a.id }))}">${mark(priority(a), "quiet", 18)}<span>${hm(a.raised_at)}</span>
    <span class="el" title="${text}">${text}</span><span>${L("持续", "for ")}${age(lasted)}</span></a>`;
}

function list(county) {
  const current = county.current(), cleared = county.cleared(), fresh = current.filter((a) => a.state === "active").length, box = $("list");
  put($("list-n"), current.length ? `${fresh} ${ALARM_STATE.active}${L("，共 ", ", ")}${current.length}${L(" 条", " in all")}` : "");
  putHTML($("past"), "");
  if (!current.length) {
    const at = cleared[0] && hm(cleared[0].cleared_at), last = at ? L(`上一条 ${at} 已解除。`, ` The last one was cleared at ${at}.`) : "";
    putHTML(box, `<p class="none">${L("没有报警。", "No alarms.")}${last}</p>`);
  } else if (putHTML(box, current.slice(0, MOST).map((a) => row(a, county)).join(""))) cut(box, current.length);
  const room = phone ? 1e9 : floor() - box.getBoundingClientRect().bottom;
  const past = cleared.slice(0, Math.max(0, Math.min(8, Math.floor((room - 56) / 34)))).map((a) => pastRow(a, county));
  const heading = `<h2>${L("已恢复或解除", "Returned or cleared")}<small>${L("近 4 小时", "last 4 h")}</small></h2>`;
  putHTML($("past"), past.length ? heading + past.join("") : "");
}
/** Where the list has to end: above the key. */
const floor = () => document.querySelector(".key").getBoundingClientRect().top - 8;
/** Take away the rows that do not fit and say how many they are. */
function cut(box, all) {
  const rows = [...box.children], outer = document.querySelector(".list").getBoundingClientRect();
  const end = phone ? Infinity : outer.bottom - document.querySelector(".key").offsetHeight - 22;
  const fits = (foot) => rows.filter((r) => r.getBoundingClientRect().bottom <= end - foot).length;
  const shown = fits(0) === all ? all : Math.max(1, fits(36)), more = all - shown;
  for (const r of rows.slice(shown)) r.remove();
  const words = L(`另 ${more} 条，见报警页`, `${more} more on the alarm page`);
  if (more) box.insertAdjacentHTML("beforeend", `<a class="more" href="${esc(address("alarms"))}">${words}</a>`);
}

function silent(county) {
  const f = county.frame, most = phone ? 12 : 3;
  const all = county.stations.filter((s) => f.quality[s.index] !== GOOD).sort((a, b) => f.age[b.index] - f.age[a.index]);
  const shown = all.length > most ? all.slice(0, most - 1) : all, more = all.length - shown.length;
  const rows = shown.map((s) => {
    const how = f.quality[s.index] === OFFLINE ? L("离线", "offline") : L("陈旧", "stale");
    return `<a class="srow" href="${esc(address("station", { id: s.id }))}"><span>${esc(s.id)}</span><span class="el">${esc(name(s))}</span>
      <span>${how} ${age(f.age[s.index])}</span></a>`;
  });
  if (more) rows.push(`<div class="srow"><span></span><span>${L(`另 ${more} 站`, `${more} more`)}</span><span></span></div>`);
  put($("silent-n"), all.length ? String(all.length) : "");
  putHTML($("silent"), rows.join("") || `<p class="none">${L("全部油站有实时数据。", "Every station has live data.")}</p>`);
}

function towns(county) {
  const f = county.frame, by = new Map();
  for (const s of county.stations) {
    const key = town(s) || "—", t = by.get(key) ?? by.set(key, { on: 0, of: 0, fuel: 0, sold: 0 }).get(key);
    t.of += 1;
    t.on += f.quality[s.index] !== OFFLINE;
    t.sold += Number.isFinite(f.sold[s.index]) ? f.sold[s.index] : 0;
    for (const n of s.nozzles) t.fuel += f.state[n.index] === 2;
  }
  const table = $("towns");
  if (table.childElementCount !== 1 || table.dataset.of !== [...by.keys()].join("|")) {
    table.dataset.of = [...by.keys()].join("|");
    table.innerHTML = `<table><tr><th></th><th>${L("在线", "online")}</th><th>${L("加油中", "fuelling")}</th>
      <th>${L("今日销量", "sold today")} L</th></tr>${[...by.keys()].map((key) => `<tr><td>${esc(key)}</td><td></td><td></td><td></td>
      </tr>`).join("")}</table>`;
  }
  const rows = table.querySelectorAll("tr");
  [...by.values()].forEach((t, i) => {
    const cells = rows[i + 1].children;
    putHTML(cells[1], t.on === t.of ? String(t.on) : `<b>${t.on} / ${t.of}</b>`);
    put(cells[2], String(t.fuel));
    put(cells[3], n0(t.sold));
  });
}

/** Alarms raised in each of the last 24 hours against the limit of 6 an hour. */
function rate(county) {
  for (const a of county.alarms) if (priority(a)) raised.set(a.id, seconds(a.raised_at));
  if (!county.frame) return;
  const box = $("rate"), w = box.clientWidth, h = 92, last = Math.floor(county.now() / 3600), counts = new Array(HOURS).fill(0), label = 62;
  for (const [id, at] of raised) if (at < county.now() - 90000) raised.delete(id);
  for (const at of raised.values()) { const i = Math.floor(at / 3600) - last + HOURS - 1; if (i >= 0 && i < HOURS) counts[i] += 1; }
  const most = Math.max(8, ...counts) * 1.08, step = (w - label) / HOURS, y = (v) => h - 18 - (v / most) * (h - 28), end = HOURS * step;
  const bar = (v, i) => `<rect x="${(i * step + 1).toFixed(1)}" y="${y(v).toFixed(1)}" width="${(step - 3).toFixed(1)}" height="${(h - 18 - y(v)).toFixed(1)}" fill="var(--pw-${v > RATE_LIMIT ? "ink" : "run-2"})"/>`;
  putHTML(box, [
    `<svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" role="img" aria-label="${counts.join(" ")}">${counts.map(bar).join("")}`,
    `<path class="ax" d="M0 ${h - 17.5}H${end}"/><path class="ax" d="M0 ${y(RATE_LIMIT)}H${end}" stroke-dasharray="4 3"/>`,
    `<text x="${end + 7}" y="${y(RATE_LIMIT) + 4}">${L("上限", "limit")} ${RATE_LIMIT}</text>`,
    `<text x="0" y="${h - 2}">${hm((last - HOURS + 1) * 3600)}</text>`,
    `<text x="${(HOURS - 0.5) * step}" y="${h - 2}" text-anchor="middle">${hm(last * 3600)}</text></svg>`,
  ].join(""));
}

function frame(county) {
  tiles.frame(county);
  map(county);
  silent(county);
  towns(county);
  rate(county);
}
function alarms(county) {
  tiles.alarms(county);
  map(county);
  list(county);
  rate(county);
}
function tick(county) {
  for (const e of document.querySelectorAll("[data-age]")) put(e, age(county.now() - seconds(e.dataset.age)));
}

hearAcknowledge((wrong) => { const box = $("wrong"); if (box) { box.hidden = !wrong; put(box, wrong); } });
const county = run("wall", { build, frame, alarms, tick });
/* the feed tells of the last four hours only; the rate wants a day */
facts("data/alarms?state=all&limit=1000").then((all) => {
  for (const a of all) if (priority(a)) raised.set(a.id, seconds(a.raised_at));
  if ($("rate")) rate(county);
}).catch(() => { /* the chart then shows what the feed told */ });
