/* The top bar, the same on every page, and the frame of every page: connect, build on a layout, paint on news, tick each second. */
import { ALARM_STATE, L, ZH, age, day, esc, hms, n0, say, unit } from "./words.js";
import { MARK, mark, priority } from "./marks.js";
import { County, headline, name } from "./county.js";
import { listen } from "./feed.js";
import { dutyField } from "./acts.js";

const root = document.documentElement;
const PAGES = [["wall", ".", L("总览", "Overview")], ["station", "station", L("油站", "Station")], ["alarms", "alarms", L("报警", "Alarms")]];
const LOST_S = 3;

/** Address of a page with the language and theme of this one. */
export function address(page, more = {}) {
  const query = new URLSearchParams({ lang: ZH ? "zh" : "en", theme: root.dataset.theme, ...more });
  return `${PAGES.find(([key]) => key === page)[1]}?${query}`;
}
function same(change) {
  const query = new URLSearchParams(location.search);
  for (const key in change) query.set(key, change[key]);
  return esc(`?${query}`);
}
const choice = (key, value, word, on) => `<a class="${on ? "on" : ""}" href="${same({ [key]: value })}"${on ? ' aria-current="true"' : ""}>${word}</a>`;
const live = (id) => `<span id="${id}">—</span>`;

const link = (key, word, on) => `<a class="${on ? "on" : ""}" href="${esc(address(key))}"${on ? ' aria-current="page"' : ""}>${word}</a>`;

export function topbar(page) {
  const dark = root.dataset.theme === "dark";
  return `<header class="top"><div class="brand">pumpwatch<span class="sub" id="who"></span></div>
<nav>${PAGES.map(([key, , word]) => link(key, word, key === page)).join("")}</nav>
<div class="gap"></div><div class="lost" id="lost" role="status" hidden></div><div class="prio" id="prio"></div>
<div class="kpis"><div class="kpi"><b data-live>${live("k-on")}<span class="u" id="k-all"></span></b><span>${L("油站在线", "stations online")}</span></div>
<div class="kpi"><b data-live>${live("k-fuel")}<span class="u" id="k-nz"></span></b><span>${L("加油中", "fuelling")}</span></div>
<div class="kpi"><b data-live>${live("k-sold")}${unit("L")}</b><span>${L("今日销量", "sold today")}</span></div></div>
<div class="clock"><small id="date"></small><span id="clock">--:--:--</span></div>${dutyField()}
<div class="sw">${choice("lang", "zh", "中", ZH)}${choice("lang", "en", "EN", !ZH)}</div>
<div class="sw">${choice("theme", "light", L("亮", "Light"), !dark)}${choice("theme", "dark", L("暗", "Dark"), dark)}</div>
<div class="sr" role="status" id="news"></div></header>`;
}

const $ = (id) => document.getElementById(id);
/** Touch the page only where the text changed. */
export function put(element, text) { if (element && element.textContent !== text) element.textContent = text; }
const written = new WeakMap();
/** The same for what holds elements; true when it changed. */
export function putHTML(element, html) {
  if (!element || written.get(element) === html) return false;
  written.set(element, html);
  element.innerHTML = html;
  return true;
}

function paintBar(county) {
  put($("k-on"), n0(county.online()));
  put($("k-fuel"), n0(county.fuelling()));
  put($("k-sold"), n0(county.sold()));
}
function paintClock(county, feed) {
  const now = county.now(), silence = county.silence(), lost = silence > LOST_S && (county.frame || silence > 5);
  put($("clock"), hms(now));
  put($("date"), day(now));
  root.classList.toggle("lost", lost);
  const badge = $("lost");
  badge.hidden = !lost;
  if (lost) put(badge, L(`断线 ${age(silence)}`, `link lost ${age(silence)}`));
  badge.title = feed && !feed.connected
    ? L("监控服务没有应答，正在重连", "the server does not answer; trying again")
    : L("与看板服务的连接断开，正在重连", "the connection to the dashboards is broken; trying again");
}
function paintMarks(county) {
  const current = county.current();
  putHTML($("prio"), [1, 2, 3, 4].map((p) => {
    const mine = current.filter((a) => priority(a) === p), best = mine.reduce((m, a) => (rank(a) < rank(m) ? a : m), mine[0]);
    return `<div class="${mine.length ? "" : "zero"}">${mark(p, best ? MARK[best.state] : "quiet", 24)}${mine.length}</div>`;
  }).join(""));
}
const rank = (a) => ["active", "returned", "acknowledged"].indexOf(a.state);

/** Run a page: `build` on each new layout, `frame` and `alarms` on news (both also once after a build), `tick` each second. */
export function run(page, { build, frame = () => {}, alarms = () => {}, tick = () => {} }) {
  const county = new County();
  let built = false, feed = null, told = null, resize = 0;
  const app = $("app");
  const paintAll = () => { paintMarks(county); alarms(county); if (county.frame) { paintBar(county); frame(county); } paintClock(county, feed); };
  const rebuild = () => { build(county); built = true; paintAll(); };
  listen({
    layout(message) {
      county.setLayout(message);
      const server = county.server, what = L("油站计量监管", "fuel metering supervision"), where = ZH ? server.name : server.name_en || server.name;
      if (!$("news")) app.innerHTML = topbar(page);
      put($("who"), [what, where, say(server.subtitle)].filter(Boolean).join(" · "));
      put($("k-all"), `/ ${county.stations.length}`);
      put($("k-nz"), `/ ${county.nozzles} ${L("枪", "nozzles")}`);
      rebuild();
    },
    alarms(list) {
      county.setAlarms(list);
      if (!built) return;
      paintMarks(county);
      alarms(county);
      const fresh = county.current().filter((a) => a.state === "active");
      if (told) for (const a of fresh) if (!told.has(a.id)) put($("news"), `${ALARM_STATE.active} ${place(a, county)} ${headline(a, county)}`);
      told = new Set(fresh.map((a) => a.id));
    },
    frame(buffer) {
      const first = !county.frame;
      if (!county.setFrame(buffer) || !built) return;
      if (first) alarms(county); // their ages are known only now
      paintBar(county);
      paintClock(county, feed);
      frame(county);
    },
    state(message) {
      if (feed?.server && feed.server !== message.server && !document.querySelector("form")) location.reload(); // the dashboards started anew
      feed = message;
    },
  });
  setInterval(() => { if (built) { paintClock(county, feed); tick(county); } }, 1000);
  let size = [innerWidth, innerHeight];
  addEventListener("resize", () => {
    const phone = innerWidth < 700; // there the keyboard and the address bar change the height all the time
    if (innerWidth === size[0] && (phone || innerHeight === size[1])) return;
    size = [innerWidth, innerHeight];
    clearTimeout(resize);
    resize = setTimeout(() => { if (built) rebuild(); }, 150);
  });
  return county;
}
const place = (a, county) => { const s = county.byId.get(a.subject?.station_id); return s ? name(s) : ""; };
