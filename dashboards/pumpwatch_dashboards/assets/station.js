/* The station page: the forecourt now, latest sales in three channels, errors by nozzle, trends, tanks, identity. */
import { ALARM_STATE, L, age, day, esc, grade, n0, n1, qualityTag } from "./words.js";
import { MARK, alarmColours, mark, priority } from "./marks.js";
import { GOOD, OFFLINE, headline, name, town } from "./county.js";
import { address, put, putHTML, run } from "./bar.js";
import { facts } from "./feed.js";
import { Forecourt, dispenserWord, short } from "./forecourt.js";
import { errors, table } from "./sales.js";

const $ = (id) => document.getElementById(id);
const KEY = "pumpwatch.station", POLL_S = 10, SALES = 50;
const asked = new URLSearchParams(location.search).get("id");
let station = null, forecourt = null, detail = null, sales = null, known = null, wrong = {}, ticks = 0, soon = 0;

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
  const top = document.querySelector(".top");
  if (!station) {
    top.insertAdjacentHTML("afterend", `<main id="main" class="stn none-such"><section class="box"><p class="none">${asked ? L(`没有编号为 ${esc(asked)} 的油站。`, `There is no station ${esc(asked)}.`) : L("请选择油站。", "Choose a station.")}</p>${picker(county)}</section></main>`);
    return;
  }
  try { localStorage.setItem(KEY, station.id); } catch (_) { /* private window */ }
  document.title = `${name(station)} · pumpwatch`;
  const bars = '<div class="bars"><i></i><i></i><i></i></div>';
  top.insertAdjacentHTML("afterend", `<main class="stn" id="main">
<section class="box head"><h1>${esc(name(station))}</h1>${picker(county)}<div class="f"><span>${L("编号", "id")}</span>${esc(station.id)} · ${esc(town(station))}</div><div class="f"><span>${L("所有制", "ownership")}</span>${station.ownership === "state" ? L("国有", "state") : L("民营", "private")}</div><div class="f"><span>${L("数据", "data")}</span><b id="fresh">—</b></div><div class="f"><span>${L("设备在线", "devices online")}</span><b id="devices">—</b></div><div class="f"><span>${L("今日销量", "sold today")}</span><b data-live><span id="day">—</span> L</b></div><div class="f"><span>${L("零售资格到期", "retail licence ends")}</span><b id="licence">—</b></div><div class="gap"></div><div id="alarm"></div></section>
<div class="col left"><section class="box yard"><h2>${L("加油现场", "Forecourt")}<small id="doing"></small></h2><div class="isl" id="isl" data-scroll></div></section>
<section class="box tx"><h2>${L("最近交易 · 三路比对", "Latest sales, three channels")}<small>${L("显示量相对 ● 编码器、◇ 税控的误差；正值为少付；灰带 ±0.30%", "displayed against ● encoder and ◇ tax; plus: customer short; band ±0.30%")}</small></h2><div id="tx" data-scroll>${bars}</div></section></div>
<div class="col mid"><section class="box recon"><h2>${L("各枪示值误差", "Indication error by nozzle")}<small id="recon-of">${L("显示对编码器 · 95% 区间", "displayed against encoder, 95% interval")}</small></h2><div id="recon">${bars}</div></section>
<section class="box trend"><h2>${L("各枪流量", "Flow by nozzle")}<small>${L("最近 · 满行 60 L/min · 缺数据处断开", "latest, full row 60 L/min, broken where data are missing")}</small></h2><div id="flow-slot"></div></section></div>
<div class="col side"><section class="box"><h2>${L("油罐", "Tanks")}<small>${L("实测", "as measured")}</small></h2><div class="tanks" id="tanks">${bars}</div><h3>${L("最近 · 占容量 % · 缺数据处断开", "latest, % of capacity, broken where data are missing")}</h3><div id="level-slot"></div></section>
<section class="box ident"><h2>${L("设备身份", "Identity")}<small>${L("实测与备案比对", "observed against the register")}</small></h2><div id="ident" data-scroll>${bars}</div></section></div></main>`);
  $("flow-slot").append($("flow-chart") ?? "");
  $("level-slot").append($("level-chart") ?? "");
  forecourt = new Forecourt($("isl"), station);
  $("pick").addEventListener("change", ({ target }) => { location.href = address("station", { id: target.value }); });
  show(county);
  if (!detail) load(county);
}

function picker(county) {
  const by = new Map();
  for (const s of county.stations) (by.get(town(s)) ?? by.set(town(s), []).get(town(s))).push(s);
  return `<label class="pick"><span class="sr">${L("换站", "another station")}</span><select id="pick">${station ? "" : "<option></option>"}${[...by].map(([t, list]) => `<optgroup label="${esc(t)}">${list.map((s) => `<option value="${esc(s.id)}"${s === station ? " selected" : ""}>${esc(s.id)} ${esc(name(s))}</option>`).join("")}</optgroup>`).join("")}</select></label>`;
}

/** Fetch what the feed does not carry; each part fails by itself and keeps what it showed. */
async function load(county) {
  const base = `data/stations/${encodeURIComponent(station.id)}`;
  const get = async (key, path, keep) => { try { keep(await facts(base + path)); delete wrong[key]; } catch (error) { wrong[key] = error.message; } };
  await Promise.all([
    get("detail", "", (x) => { detail = x; }), get("sales", `/transactions?limit=${SALES}`, (x) => { sales = x; }), get("known", "/indications", (x) => { known = x; }),
  ]);
  show(county);
}

const alarmOf = (county) => (id) => county.alarmsOf(id)[0];
const failed = (what, why) => `<p class="none">${what} ${esc(why)} ${L(`${POLL_S} 秒后重试。`, `Trying again in ${POLL_S} s.`)}</p>`;

function show(county) {
  if (!station || !$("tx")) return;
  if (detail) {
    forecourt.facts(detail);
    const devices = detail.devices ?? [], up = devices.filter((d) => d.connected).length;
    put($("devices"), `${up} / ${devices.length}`);
    put($("licence"), detail.retail_licence_expires ? day(`${detail.retail_licence_expires}T04:00:00Z`) : "—");
    putHTML($("tanks"), (detail.tanks ?? []).map(tank).join("") || `<p class="none">${L("没有登记油罐。", "No tank is registered.")}</p>`);
    putHTML($("ident"), identity(detail.dispensers ?? []));
  } else if (wrong.detail) for (const id of ["tanks", "ident"]) putHTML($(id), failed(L("取不到站点资料。", "The station's facts cannot be had."), wrong.detail));
  if (sales) {
    forecourt.sales(sales);
    putHTML($("tx"), sales.length ? table(sales, { now: county.now(), alarmOf: alarmOf(county) }) : `<p class="none">${L("还没有交易。", "No sale yet.")}</p>`);
    fitRows();
  } else if (wrong.sales) putHTML($("tx"), failed(L("取不到交易。", "The sales cannot be had."), wrong.sales));
  if (known) {
    const box = $("recon"), room = innerWidth < 1200 ? 34 * station.nozzles.length + 80 : Math.max(180, document.querySelector(".mid").clientHeight - 12 - trendHeight() - 58);
    putHTML(box, errors(station.nozzles, known, { alarmOf: alarmOf(county), w: box.clientWidth, h: room }));
    const n = known.reduce((sum, k) => sum + k.sales, 0);
    put($("recon-of"), L(`显示对编码器 · 已知 ${n0(n)} 笔 · 95% 区间`, `displayed against encoder, ${n0(n)} sales, 95% interval`));
  } else if (wrong.known) putHTML($("recon"), failed(L("算不出误差。", "The errors cannot be had."), wrong.known));
  if (county.frame) forecourt.frame(county.frame);
}
/* the flow chart takes what its rows need (pages.py, flow_height), the errors the rest */
const trendHeight = () => { const n = station.nozzles.length; return (n <= 12 ? 18 : n <= 16 ? 15 : 13) * Math.max(4, n) + 36 + 58; };

/** Only whole rows: a half row at the edge reads as a mistake. */
function fitRows() {
  const box = $("tx"), head = box.querySelector("thead"), row = box.querySelector("tbody tr");
  if (!row || innerWidth < 1200) { box.style.maxHeight = ""; return; }
  box.style.maxHeight = "";
  const room = box.parentElement.clientHeight - box.offsetTop + box.parentElement.offsetTop - 12, h = row.getBoundingClientRect().height;
  box.style.maxHeight = `${Math.floor((room - head.offsetHeight - 7) / h) * h + head.offsetHeight + 7}px`;
}

function tank(t) {
  const known = typeof t.volume_l === "number" && t.capacity_l > 0 && !(t.quality >= 0x80), v = known ? Math.max(0, Math.min(1, t.volume_l / t.capacity_l)) : 0, H = 92, y = 2 + (1 - v) * H, tag = qualityTag(t.quality);
  const water = known && typeof t.water_mm === "number" ? Math.max(2, Math.min(20, t.water_mm / 4)) : 0, with_ = (x, digits, u) => (known && typeof x === "number" ? `${digits(x)} ${u}` : "—");
  const bar = `<svg width="58" height="96" viewBox="0 0 58 96" aria-hidden="true"><rect x="1" y="2" width="42" height="${H}" fill="var(--pw-well)" stroke="var(--pw-edge)"${known ? "" : ' stroke-dasharray="4 3"'}/>${known ? `<rect x="1.5" y="${y}" width="41" height="${H * v}" fill="var(--pw-run-2)"/>` : ""}${water ? `<rect x="1.5" y="${2 + H - water}" width="41" height="${water}" fill="var(--pw-run)"/>` : ""}${known ? `<path d="M1.5 ${y}H43" stroke="var(--pw-ink)" stroke-width="2"/><path d="M44 ${y}l9-5v10Z" fill="var(--pw-ink)"/>` : ""}</svg>`;
  return `<div class="tank">${bar}<div><b>${L(`${esc(t.number)}号罐`, `${esc(t.number)} ·`)} ${esc(grade(t.grade))}</b><b class="n">${known ? `<span data-live>${n0(t.volume_l)} L</span>` : "—"}${tag}</b><span class="n">${known ? `${Math.round(v * 100)}%` : "—"}</span><span>${with_(t.height_mm, n0, "mm")} · ${with_(t.temperature_c, n1, "°C")}</span><span>${L("水", "water")} ${with_(t.water_mm, n0, "mm")}</span></div></div>`;
}

const FIELDS = [
  ["mainboard_serial", L("主板序列号", "board serial")], ["firmware_digest", L("程序摘要", "software digest")], ["firmware_version", L("程序版本", "software version")],
  ["serial", L("整机序列号", "dispenser serial")], ["tax_serial", L("税控序列号", "tax control serial")],
];
function identity(list) {
  const rows = FIELDS.map(([key, word]) => [word, list.map((d) => [dispenserWord(d.dispenser_id), d.registered?.[key], d.observed?.[key], Boolean(d.observed)])]);
  const encoders = list.flatMap((d) => { const reg = d.registered?.encoder_serials ?? {}, seen = d.observed?.encoder_serials ?? {}; return [...new Set([...Object.keys(reg), ...Object.keys(seen)])].map((id) => [nozzleWord(id), reg[id], seen[id], Boolean(d.observed)]); });
  if (encoders.length) rows.splice(3, 0, [L("编码器序列号", "encoder serial"), encoders]);
  return `<div class="idt">${rows.map(([word, pairs]) => {
    const both = pairs.filter(([, reg, seen]) => reg && seen), off = both.filter(([, reg, seen]) => reg !== seen), none = pairs.filter(([, reg, , read]) => reg && !read).length;
    const sum = off.length ? L(`${off.length} 处不符`, `${off.length} differ`) : both.length ? `${both.length}/${pairs.length} ${L("一致", "match")}` : none ? L("未读到", "not read") : "—";
    return `<span>${word}</span><span class="v${off.length ? " b" : ""}">${sum}</span>${off.map(([where, reg, seen]) => `<span class="diff">${esc(where)} ${L("备案", "registered")} <code>${esc(short(reg))}</code>${L("，实测", ", observed")} <code>${esc(short(seen))}</code></span>`).join("")}`;
  }).join("")}</div>`;
}
const nozzleWord = (id) => { const n = station.nozzles.find((x) => x.nozzle_id === id); return n ? L(`${n.number}号枪`, `Nozzle ${n.number}`) : id; };

function frame(county) {
  if (!station) return;
  const f = county.frame, q = f.quality[station.index], s = f.age[station.index];
  put($("fresh"), q === OFFLINE ? L(`离线 ${age(s)}`, `offline ${age(s)}`) : q === GOOD ? `${L("实时", "live")} ${n1(s)} s` : L(`陈旧 ${age(s)}`, `stale ${age(s)}`));
  put($("day"), n0(f.sold[station.index]));
  document.querySelector(".yard").classList.toggle("late", q !== GOOD);
  if (forecourt.frame(f)) { clearTimeout(soon); soon = setTimeout(() => load(county), 1500); }
  const doing = [2, 3, 1, 4].map((state) => [state, station.nozzles.filter((n) => f.state[n.index] === state).length]).filter(([, n]) => n);
  const words = { 1: L("提枪", "lifted"), 2: L("加油", "fuelling"), 3: L("停流", "stopped"), 4: L("自锁", "locked") }, machines = new Set(station.nozzles.map((n) => n.dispenser_id)).size;
  put($("doing"), L(`${machines} 机 ${station.nozzles.length} 枪${doing.map(([k, n]) => ` · ${words[k]} ${n}`).join("")}`, `${machines} dispensers, ${station.nozzles.length} nozzles${doing.length ? ": " : ""}${doing.map(([k, n]) => `${n} ${words[k]}`).join(", ")}`));
}

function alarms(county) {
  if (!station) return;
  const mine = county.current().filter((a) => a.subject?.station_id === station.id), a = mine[0];
  putHTML($("alarm"), a ? `<div class="al ${a.state === "active" ? "" : "seen"}" style="${alarmColours(priority(a))}">${mark(priority(a), MARK[a.state], 26)}<span class="el" title="${esc(headline(a, county))}">${esc(headline(a, county))}</span>${mine.length > 1 ? `<span class="more">+${mine.length - 1}</span>` : ""}${a.state === "active" ? "" : `<span class="st">${ALARM_STATE[a.state]}</span>`}<a class="btn${a.state === "active" ? " main" : ""}" href="${esc(address("alarms", { alarm: a.id }))}">${a.state === "active" ? L("查看并确认", "Open and acknowledge") : L("查看", "Open")}</a></div>` : "");
  forecourt.alarms(county);
  show(county);
}

run("station", { build, frame, alarms, tick(county) { if (station && ++ticks % POLL_S === 0) load(county); } });
