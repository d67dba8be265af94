/* The station page: the forecourt now, latest sales in three channels, errors by nozzle, trends, tanks, identity. */
import { ALARM_STATE, L, age, day, esc, n0, n1 } from "./words.js";
import { MARK, alarmColours, mark, priority } from "./marks.js";
import { GOOD, OFFLINE, headline, name, town } from "./county.js";
import { address, put, putHTML, run } from "./bar.js";
import { facts } from "./feed.js";
import { Forecourt } from "./forecourt.js";
import { identity, tank } from "./devices.js";
import { errors, table } from "./sales.js";

const $ = (id) => document.getElementById(id);
const KEY = "pumpwatch.station", POLL_S = 10, SALES = 50, SETTLE_MS = 1500;
const NARROW = 1200; // below, the page is one column that scrolls
const asked = new URLSearchParams(location.search).get("id");
const known = { detail: null, sales: null, errors: null }, wrong = {};
let station = null, forecourt = null, ticks = 0, soon = 0;

/** The station asked for; without one the last seen, else the one with the worst alarm, else the first. */
function choose(county) {
  let last = null;
  try { last = localStorage.getItem(KEY); } catch (_) { /* private window */ }
  const id = [last, county.current()[0]?.subject?.station_id, county.stations[0]?.id].find((x) => county.byId.has(x));
  if (id) location.replace(address("station", { id }));
}

/** Bokeh draws into these wherever they stand; they are taken out before the page is made anew. */
function charts(into) { for (const id of ["flow-chart", "level-chart"]) { const e = $(id); if (e) into.append(e); } }

function build(county) {
  charts($("charts"));
  $("main")?.remove();
  station = county.byId.get(asked);
  if (!asked && county.stations.length) choose(county);
  document.querySelector(".top").insertAdjacentHTML("afterend", station ? page(county) : noStation(county));
  $("pick").addEventListener("change", ({ target }) => { location.href = address("station", { id: target.value }); });
  if (!station) return;
  try { localStorage.setItem(KEY, station.id); } catch (_) { /* private window */ }
  document.title = `${name(station)} · pumpwatch`;
  $("flow-slot").append($("flow-chart") ?? "");
  $("level-slot").append($("level-chart") ?? "");
  forecourt = new Forecourt($("isl"), station);
  show(county);
  if (!known.detail) load(county);
}

function noStation(county) {
  const why = asked ? L(`没有编号为 ${esc(asked)} 的油站。`, `There is no station ${esc(asked)}.`) : L("请选择油站。", "Choose a station.");
  return `<main id="main" class="stn none-such"><section class="box"><p class="none">${why}</p>${picker(county)}</section></main>`;
}

function page(county) {
  const bars = '<div class="bars"><i></i><i></i><i></i></div>';
  const fact = (word, value) => `<div class="f"><span>${word}</span>${value}</div>`;
  const heading = (word, more, id = "") => `<h2>${word}<small${id ? ` id="${id}"` : ""}>${more}</small></h2>`;
  return `<main class="stn" id="main">
<section class="box head"><h1>${esc(name(station))}</h1>${picker(county)}
  ${fact(L("编号", "id"), `${esc(station.id)} · ${esc(town(station))}`)}
  ${fact(L("所有制", "ownership"), station.ownership === "state" ? L("国有", "state") : L("民营", "private"))}
  ${fact(L("数据", "data"), '<b id="fresh">—</b>')}
  ${fact(L("设备在线", "devices online"), '<b id="devices">—</b>')}
  ${fact(L("今日销量", "sold today"), '<b data-live><span id="day">—</span> L</b>')}
  ${fact(L("零售资格到期", "retail licence ends"), '<b id="licence">—</b>')}
  <div class="gap"></div><div id="alarm"></div></section>
<div class="col left">
  <section class="box yard">${heading(L("加油现场", "Forecourt"), "", "doing")}<div class="isl" id="isl" data-scroll></div></section>
  <section class="box tx">${heading(L("最近交易 · 三路比对", "Latest sales, three channels"), L(
    "显示量相对 ● 编码器、◇ 税控的误差；正值为少付；灰带 ±0.30%", "displayed against ● encoder and ◇ tax; plus: customer short; band ±0.30%"))}
    <div id="tx" data-scroll>${bars}</div></section></div>
<div class="col mid">
  <section class="box recon">${heading(L("各枪示值误差", "Indication error by nozzle"), L(
    "显示对编码器 · 95% 区间", "displayed against encoder, 95% interval"), "recon-of")}<div id="recon">${bars}</div></section>
  <section class="box trend">${heading(L("各枪流量", "Flow by nozzle"), L(
    "最近 · 满行 60 L/min · 缺数据处断开", "latest, full row 60 L/min, broken where data are missing"))}<div id="flow-slot"></div></section></div>
<div class="col side">
  <section class="box">${heading(L("油罐", "Tanks"), L("实测", "as measured"))}<div class="tanks" id="tanks">${bars}</div>
    <h3>${L("最近 · 占容量 % · 缺数据处断开", "latest, % of capacity, broken where data are missing")}</h3><div id="level-slot"></div></section>
  <section class="box ident">${heading(L("设备身份", "Identity"), L("实测与备案比对", "observed against the register"))}
    <div id="ident" data-scroll>${bars}</div></section></div></main>`;
}

function picker(county) {
  const by = new Map();
  for (const s of county.stations) (by.get(town(s)) ?? by.set(town(s), []).get(town(s))).push(s);
  const option = (s) => `<option value="${esc(s.id)}"${s === station ? " selected" : ""}>${esc(s.id)} ${esc(name(s))}</option>`;
  const groups = [...by].map(([t, list]) => `<optgroup label="${esc(t)}">${list.map(option).join("")}</optgroup>`);
  const label = L("换站", "another station");
  return `<label class="pick"><span class="sr">${label}</span><select id="pick">${station ? "" : "<option></option>"}${groups.join("")}</select></label>`;
}

/** Fetch what the feed does not carry; each part fails by itself and keeps what it showed. */
async function load(county) {
  const base = `data/stations/${encodeURIComponent(station.id)}`;
  const get = async (key, path) => {
    try { known[key] = await facts(base + path); delete wrong[key]; } catch (error) { wrong[key] = error.message; }
  };
  await Promise.all([get("detail", ""), get("sales", `/transactions?limit=${SALES}`), get("errors", "/indications")]);
  show(county);
}

function show(county) {
  if (!station || !$("tx")) return;
  const alarmOf = (id) => county.alarmsOf(id)[0];
  const failed = (key, what, ...ids) => {
    if (!wrong[key]) return;
    const again = L(`${POLL_S} 秒后重试。`, `Trying again in ${POLL_S} s.`);
    for (const id of ids) putHTML($(id), `<p class="none">${what} ${esc(wrong[key])} ${again}</p>`);
  };
  if (known.detail) showDetail(known.detail);
  else failed("detail", L("取不到站点资料。", "The station's facts cannot be had."), "tanks", "ident");
  if (known.sales) showSales(known.sales, county.now(), alarmOf);
  else failed("sales", L("取不到交易。", "The sales cannot be had."), "tx");
  if (known.errors) showErrors(known.errors, alarmOf);
  else failed("errors", L("算不出误差。", "The errors cannot be had."), "recon");
  if (county.frame) forecourt.frame(county.frame);
}

function showDetail(detail) {
  forecourt.facts(detail);
  const devices = detail.devices ?? [], tanks = detail.tanks ?? [];
  put($("devices"), `${devices.filter((d) => d.connected).length} / ${devices.length}`);
  put($("licence"), detail.retail_licence_expires ? day(`${detail.retail_licence_expires}T04:00:00Z`) : "—");
  putHTML($("tanks"), tanks.map(tank).join("") || `<p class="none">${L("没有登记油罐。", "No tank is registered.")}</p>`);
  putHTML($("ident"), identity(detail.dispensers ?? [], nozzleWord));
}
const nozzleWord = (id) => {
  const nozzle = station.nozzles.find((n) => n.nozzle_id === id);
  return nozzle ? L(`${nozzle.number}号枪`, `Nozzle ${nozzle.number}`) : id;
};

function showSales(list, now, alarmOf) {
  forecourt.sales(list);
  putHTML($("tx"), list.length ? table(list, { now, alarmOf }) : `<p class="none">${L("还没有交易。", "No sale yet.")}</p>`);
  fitRows();
}
/** Only whole rows: a half row at the edge reads as a mistake. */
function fitRows() {
  const box = $("tx"), outer = box.parentElement, head = box.querySelector("thead"), row = box.querySelector("tbody tr");
  box.style.maxHeight = "";
  if (!row || innerWidth < NARROW) return;
  const above = head.offsetHeight + 7, room = outer.clientHeight - (box.offsetTop - outer.offsetTop) - 12;
  const each = row.getBoundingClientRect().height;
  box.style.maxHeight = `${Math.floor((room - above) / each) * each + above}px`;
}

function showErrors(list, alarmOf) {
  const box = $("recon"), column = document.querySelector(".mid").clientHeight, count = list.reduce((sum, k) => sum + k.sales, 0);
  const room = innerWidth < NARROW ? 34 * station.nozzles.length + 80 : Math.max(180, column - 12 - trendHeight() - 58);
  putHTML(box, errors(station.nozzles, list, { alarmOf, w: box.clientWidth, h: room }));
  put($("recon-of"), L(`显示对编码器 · 已知 ${n0(count)} 笔 · 95% 区间`, `displayed against encoder, ${n0(count)} sales, 95% interval`));
}
/* the flow chart takes what its rows need (pages.py, flow_height), the errors the rest */
function trendHeight() {
  const n = station.nozzles.length;
  return (n <= 12 ? 18 : n <= 16 ? 15 : 13) * Math.max(4, n) + 36 + 58;
}

const DOING = [[2, L("加油", "fuelling")], [3, L("停流", "stopped")], [1, L("提枪", "lifted")], [4, L("自锁", "locked")]];
function frame(county) {
  if (!station) return;
  const f = county.frame, quality = f.quality[station.index], late = f.age[station.index];
  const words = { [GOOD]: `${L("实时", "live")} ${n1(late)} s`, [OFFLINE]: L(`离线 ${age(late)}`, `offline ${age(late)}`) };
  put($("fresh"), words[quality] ?? L(`陈旧 ${age(late)}`, `stale ${age(late)}`));
  put($("day"), n0(f.sold[station.index]));
  document.querySelector(".yard").classList.toggle("late", quality !== GOOD);
  if (forecourt.frame(f)) { clearTimeout(soon); soon = setTimeout(() => load(county), SETTLE_MS); }
  const machines = new Set(station.nozzles.map((n) => n.dispenser_id)).size, nozzles = station.nozzles.length;
  const doing = DOING.map(([state, word]) => [station.nozzles.filter((n) => f.state[n.index] === state).length, word]).filter(([n]) => n);
  const zh = doing.map(([n, word]) => ` · ${word} ${n}`).join(""), en = doing.map(([n, word]) => `${n} ${word}`).join(", ");
  put($("doing"), L(`${machines} 机 ${nozzles} 枪${zh}`, `${machines} dispensers, ${nozzles} nozzles${en ? ": " : ""}${en}`));
}

function alarms(county) {
  if (!station) return;
  const mine = county.current().filter((a) => a.subject?.station_id === station.id);
  putHTML($("alarm"), mine.length ? banner(mine[0], mine.length - 1, county) : "");
  forecourt.alarms(county);
  show(county);
}
function banner(a, more, county) {
  const fresh = a.state === "active", text = esc(headline(a, county)), go = esc(address("alarms", { alarm: a.id }));
  return [
    `<div class="al${fresh ? "" : " seen"}" style="${alarmColours(priority(a))}">${mark(priority(a), MARK[a.state], 26)}`,
    `<span class="el" title="${text}">${text}</span>${more ? `<span class="more">+${more}</span>` : ""}`,
    fresh ? "" : `<span class="st">${ALARM_STATE[a.state]}</span>`,
    `<a class="btn${fresh ? " main" : ""}" href="${go}">${fresh ? L("查看并确认", "Open and acknowledge") : L("查看", "Open")}</a></div>`,
  ].join("");
}

run("station", { build, frame, alarms, tick(county) { if (station && ++ticks % POLL_S === 0) load(county); } });
