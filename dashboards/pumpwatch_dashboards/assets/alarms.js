/* The alarm page: the list, why the chosen one was raised, and what has been done about it. */
import { ALARM_STATE, L, actWord, age, causeWord, dayHm, department, esc, n0, n2, near, nearShort, pct, say, seconds } from "./words.js";
import { MARK, alarmColours, mark, priority } from "./marks.js";
import { gradeOf, headline, place, subjectPart } from "./county.js";
import { address, put, putHTML, run } from "./bar.js";
import { facts } from "./feed.js";
import { act, dutyField, hearAcknowledge } from "./acts.js";
import { dispenserWord } from "./forecourt.js";
import { outside, scatter, table } from "./sales.js";

const $ = (id) => document.getElementById(id);
const FILTERS = [
  ["current", L("当前", "Current"), (a) => a.state !== "cleared"], ["active", L("未确认", "Unacknowledged"), (a) => a.state === "active"],
  ["acknowledged", L("已确认", "Acknowledged"), (a) => a.state === "acknowledged"], ["returned", L("恢复待确认", "Returned"), (a) => a.state === "returned"],
  ["cleared", L("近 4 小时解除", "Cleared in 4 h"), (a) => a.state === "cleared"],
];
const query = new URLSearchParams(location.search);
let filter = FILTERS.some(([key]) => key === query.get("state")) ? query.get("state") : "current";
let chosen = query.get("alarm"), phone = false, clearing = null, past = [], sales = { of: null, list: null }, scrolled = false;

function build(county) {
  phone = innerWidth < 700;
  $("main")?.remove();
  document.querySelector(".top").insertAdjacentHTML("afterend", `<main class="al3" id="main">
<section class="box lst"><h2>${L("报警", "Alarms")}<small>${L("未确认在前，再按等级、时间", "unacknowledged first, then priority and time")}</small><a class="csv" href="data/alarms?state=all&amp;limit=10000&amp;format=csv" download>${L("导出 CSV", "Export CSV")}</a></h2>
<div class="chips" id="chips" role="group"></div><div class="rows" id="rows" role="listbox" aria-label="${L("报警", "Alarms")}" tabindex="0" data-scroll></div><div class="sumrow" id="sum"></div></section>
<section class="box det" id="det" data-scroll></section><div class="side" id="side"></div></main>`);
  $("rows").addEventListener("click", ({ target }) => { const row = target.closest(".ar"); if (row) choose(county, row.dataset.id, true); });
  $("chips").addEventListener("click", ({ target }) => { const chip = target.closest("button"); if (chip) { filter = chip.dataset.filter; paint(county); } });
}

const first = (list) => (list.length ? department(list[0]) + (list.length > 1 ? ` +${list.length - 1}` : "") : "—");
const shownList = (county) => county.alarms.filter(FILTERS.find(([key]) => key === filter)[2]);
/** The one whose details stand beside the list; on the phone only one that was asked for. */
function selected(county) {
  const list = shownList(county);
  return county.alarms.find((a) => a.id === chosen) ?? past.find((a) => a.id === chosen) ?? (phone ? null : list[0] ?? null);
}
function choose(county, id, opened = false) {
  chosen = id;
  clearing = null;
  const change = new URLSearchParams(location.search);
  if (id) change.set("alarm", id); else change.delete("alarm");
  history[phone && opened ? "pushState" : "replaceState"](null, "", `?${change}`);
  paint(county);
  if (phone) scrollTo(0, 0);
}

function rows(county) {
  const list = shownList(county), sel = selected(county), now = county.now();
  putHTML($("chips"), FILTERS.map(([key, word, of]) => `<button data-filter="${key}" class="${key === filter ? "on" : ""}" aria-pressed="${key === filter}">${word} ${county.alarms.filter(of).length}</button>`).join(""));
  putHTML($("rows"), list.map((a) => {
    const p = priority(a), quiet = a.state === "cleared" || !p;
    return `<div class="ar${a.state === "active" ? " un" : ""}${a === sel ? " sel" : ""}${quiet ? " quiet" : ""}" role="option" aria-selected="${a === sel}" id="row-${esc(a.id)}" data-id="${esc(a.id)}" style="${alarmColours(p)}"><div class="mark">${mark(p, MARK[a.state], 24)}</div><span class="when"><span data-age="${esc(a.raised_at)}">${age(now - seconds(a.raised_at))}</span><br>${nearShort(a.raised_at, now)}</span><div class="what"><b class="el" title="${esc(headline(a, county))}">${esc(headline(a, county))}</b><span class="el">${esc(place(a, county))}</span></div><span class="state">${esc(ALARM_STATE[a.state] ?? a.state)}</span><span class="dept"><span class="el">${esc(first(a.departments ?? []))}</span><span class="el">${esc(a.acknowledged_by || "—")}</span></span></div>`;
  }).join("") || `<p class="none">${filter === "current" ? L("没有报警。", "No alarms.") : L("没有这样的报警。", "No such alarm.")}</p>`);
  $("rows").setAttribute("aria-activedescendant", sel ? `row-${sel.id}` : "");
}

/** Figures of the last day, from the alarms themselves. */
function summary(county) {
  const all = new Map([...past, ...county.alarms].filter(priority).map((a) => [a.id, a])), now = county.now();
  const at = [...all.values()].map((a) => seconds(a.raised_at)).filter((s) => now - s < 86400).sort((a, b) => a - b);
  const worst = at.reduce((most, s, i) => Math.max(most, at.filter((x, k) => k >= i && x - s < 600).length), 0);
  const waits = [...all.values()].filter((a) => a.acknowledged_at).map((a) => seconds(a.acknowledged_at) - seconds(a.raised_at)).filter((s) => s >= 0).sort((a, b) => a - b), median = waits[Math.floor(waits.length / 2)];
  putHTML($("sum"), `<span>${L("24 小时", "24 h")} <b>${at.length}</b></span><span>${L("每小时", "per hour")} <b>${(at.length / 24).toFixed(1)}</b> / 6</span><span>${L("最高 10 分钟", "worst 10 min")} <b>${worst}</b> / 10</span><span>${L("确认中位", "median to acknowledge")} <b>${waits.length ? age(median) : "—"}</b></span>`);
}

const signed = (v, u) => (u === "%" ? pct(v) : `${u === "L" || Math.abs(v) < 10 ? n2(v) : n0(v)} ${esc(u)}`);
function figures(a) {
  const e = a.finding?.estimate, range = e && typeof e.low === "number" && typeof e.high === "number";
  const estimate = e ? [
    [e.unit === "%" ? L("估计（正值为少付）", "estimate (plus: customer short)") : L("估计", "estimate"), signed(e.value, e.unit)],
    [e.confidence ? L(`${Math.round(e.confidence * 100)}% 区间`, `${Math.round(e.confidence * 100)}% interval`) : L("区间", "interval"), range ? `${signed(e.low, e.unit)} … ${signed(e.high, e.unit)}` : "—"],
  ] : [];
  return [...estimate, [L("起点", "onset"), dayHm(a.onset)], [L("发现次数", "times found"), n0(a.count ?? 1)]].map(([k, v]) => `<div><span>${k}</span><b>${v}</b></div>`).join("");
}

function detail(county) {
  const a = selected(county), box = $("det");
  document.querySelector(".al3").classList.toggle("open", Boolean(a && chosen));
  if (!a) {
    const last = county.cleared()[0];
    putHTML(box, `<p class="none">${L("没有选中的报警。", "No alarm is chosen.")}${last ? L(` 上一条 ${near(last.cleared_at, county.now())} 已解除：`, ` The last one was cleared at ${near(last.cleared_at, county.now())}: `) + esc(headline(last, county)) : ""}</p>`);
    putHTML($("side"), "");
    return;
  }
  const p = priority(a), x = a.finding?.explanation ?? {}, s = a.subject ?? {}, station = county.byId.get(s.station_id), open = a.state !== "cleared";
  const where = [place(a, county), s.station_id, s.dispenser_id && dispenserWord(s.dispenser_id), subjectPart(a, county), gradeOf(a, county)].filter((v, i, all) => v && all.indexOf(v) === i).map(esc).join(" · ");
  const acts = `${a.state === "active" || a.state === "returned" ? `<button class="btn main" data-ack="${esc(a.id)}">${L("确认", "Acknowledge")}<kbd>A</kbd></button>` : ""}${open ? `<button class="btn" id="clear">${L("解除…", "Clear…")}</button>` : ""}${station ? `<a class="btn" href="${esc(address("station", { id: s.station_id }))}">${L("看油站", "Station")}</a>` : ""}`;
  const words = [[L("发生了什么", "What"), x.what], [L("为什么判定", "Why"), x.why], [L("其他可能", "Could it be else"), x.otherwise], [L("到场怎么测", "On site"), x.on_site]];
  if ($("clear-note") && clearing === a.id) { sides(a, county); return; } // a person is writing: nothing moves under the hands
  putHTML(box, `${phone ? `<button class="btn back" id="back">${L("← 报警列表", "← Alarms")}</button>` : ""}<div class="h">${mark(p, MARK[a.state], 46)}<h1>${esc(headline(a, county))}</h1><div class="acts">${acts}</div><div class="m">${where} · ${esc(ALARM_STATE[a.state])}${a.acknowledged_by ? ` ${esc(a.acknowledged_by)}` : ""} · ${esc(a.id)} · ${L("规则", "rule")} ${esc(a.rule)}</div></div><div class="wrong" id="wrong" role="alert" hidden></div>${phone ? dutyField() : ""}<div id="clearing"></div>
<div class="kv">${figures(a)}</div><div class="why2">${words.filter(([, text]) => say(text)).map(([k, text]) => `<p><b>${k}</b>${esc(say(text))}</p>`).join("")}</div><div class="more2" id="more"></div>`);
  if (clearing === a.id) clearForm(a);
  evidence(a, county);
  sides(a, county);
}

/** Clearing is a person's act: it wants a note, and says so; the form stands in the page, not in front of it. */
function clearForm(a) {
  $("clearing").innerHTML = `<form class="clear"><label for="clear-note">${L("解除是人的决定，不是数据恢复：会以您的名字写入记录。请写明理由。", "Clearing is a person's decision, not the data returning to normal: it is recorded under your name. Say why.")}</label><textarea id="clear-note" rows="2" maxlength="500" required></textarea><div><button class="btn main" type="submit">${L("以我的名义解除", "Clear in my name")}</button><button class="btn" type="button" id="cancel">${L("取消", "Cancel")}<kbd>Esc</kbd></button></div></form>`;
  $("clear-note").focus();
  $("clearing").firstChild.addEventListener("submit", async (event) => {
    event.preventDefault();
    const note = $("clear-note").value.trim();
    if (!note) { $("clear-note").focus(); return; }
    const button = event.target.querySelector("[type=submit]");
    button.disabled = true;
    const wrong = await act(a.id, "clear", note);
    button.disabled = false;
    said(wrong);
    if (!wrong) { stop(); paint(county); }
  });
}

const KEYS = {
  end: L("时间", "time"), at: L("时间", "time"), down_since: L("断线自", "down since"), reason: L("原因", "reason"), registered: L("备案", "registered"), observed: L("实测", "observed"),
  displayed_l: L("显示", "displayed"), counted_l: L("编码器", "encoder"), tax_l: L("税控", "tax"), pulses: L("脉冲", "pulses"), pulse_l: L("脉冲当量", "litres a pulse"), error_percent: L("误差", "error"), short_cny: L("少付", "short"),
  amount_cny: L("金额", "amount"), unit_price: L("单价", "price"), totalizer_l: L("泵码", "totalizer"), totalizer_cny: L("泵码金额", "totalizer"), gap_l: L("差", "gap"), gap_cny: L("差额", "gap"), gap_price: L("差价", "gap price"),
};
function figureOf(key, v, now) {
  if (v === null || v === undefined || v === "") return "—";
  if (typeof v === "string") return esc(/^\d{4}-\d\d-\d\dT/.test(v) ? near(v, now) : v);
  if (typeof v !== "number") return esc(v);
  return key.endsWith("_percent") ? pct(v) : /_cny$|_?price$/.test(key) ? `¥${n2(v)}` : key === "pulse_l" ? `${v} L` : key.endsWith("_l") ? `${n2(v)} L` : Number.isInteger(v) ? n0(v) : esc(v);
}
const pairs = (data, now) => Object.entries(data ?? {}).filter(([, v]) => v !== null).slice(0, 10).map(([k, v]) => `<span class="pair"><i>${esc(KEYS[k] ?? k)}</i> ${figureOf(k, v, now)}</span>`).join("");
/** Records of sales in columns, everything else as pairs. */
function records(list, now) {
  const sale = (e) => typeof e.data?.displayed_l === "number" && typeof e.data?.counted_l === "number", sold = list.filter(sale), rest = list.filter((e) => !sale(e));
  const channel = (v) => (typeof v === "number" ? n2(v) : `<span class="tag">${L("缺", "none")}</span>`);
  return (sold.length ? `<table class="t"><thead><tr><th class="l">${L("时间", "time")}</th><th>${L("显示", "displayed")} L</th><th>${L("编码器", "encoder")} L</th><th>${L("税控", "tax")} L</th><th>${L("误差", "error")}</th></tr></thead><tbody>${sold.slice(-7).reverse().map(({ data: d, reference }) => `<tr title="${esc(reference)}"><td class="l">${near(d.end, now)}</td><td>${n2(d.displayed_l)}</td><td>${n2(d.counted_l)}</td><td>${channel(d.tax_l)}</td><td>${pct(d.error_percent ?? ((d.displayed_l - d.counted_l) / d.counted_l) * 100)}</td></tr>`).join("")}</tbody></table>` : "")
    + (rest.length ? `<div class="recs">${rest.slice(0, 10).map((e) => `<div><b>${esc(evidenceWord(e.kind))}</b> <code>${esc(e.reference)}</code><p>${pairs(e.data, now)}</p></div>`).join("")}</div>` : "");
}
/** The evidence as the rule gave it; for a nozzle also its sales as they are known now. */
function evidence(a, county) {
  const nozzle = a.subject?.nozzle_id, box = $("more");
  if (nozzle && sales.of !== a.id) {
    sales = { of: a.id, list: null };
    facts(`data/stations/${encodeURIComponent(a.subject.station_id)}/transactions?limit=1000`).then((list) => { if (sales.of === a.id) { sales.list = list.filter((s) => s.nozzle_id === nozzle); detail(county); } }).catch(() => {});
  }
  const mine = nozzle && sales.of === a.id ? sales.list : null, list = a.finding?.evidence ?? [], known = mine?.filter((s) => s.encoder_l > 0).length ?? 0;
  const wide = box.clientWidth, w = Math.max(280, innerWidth <= 1750 || !list.length ? wide : Math.floor(wide * 0.5) - 8);
  putHTML(box, `${known ? `<div class="fig"><h2>${L("每笔误差与加油量", "Error and size of each sale")}<small>${L(`显示对编码器 · 本枪已知 ${known} 笔`, `${known} sales of this nozzle`)}</small></h2>${scatter(mine, w, phone ? 240 : 262)}</div>` : ""}
${list.length ? `<div class="evd"><h2>${L("证据", "Evidence")}<small>${L(`规则所据的 ${list.length} 条记录`, `${list.length} ${list.length === 1 ? "record" : "records"} the rule used`)}</small></h2>${records(list, county.now())}</div>` : ""}
${mine?.length ? `<div class="tail"><h2>${mine.some(outside) ? L("这把枪最近超差的几笔", "Latest sales of this nozzle out of tolerance") : L("这把枪最近几笔", "Latest sales of this nozzle")}<small>${L("显示量相对 ● 编码器、◇ 税控；正值为少付", "displayed against ● encoder and ◇ tax; plus: customer short")}</small></h2>${table(latest(mine), { now: county.now(), alarmOf: () => null, withNozzle: false })}</div>` : ""}`);
}
/* the latest that are out of tolerance, else simply the latest */
const latest = (list) => { const out = list.filter(outside); return (out.length ? out : list).slice(0, 6); };
const evidenceWord = (kind) => ({ transaction: L("交易", "sale"), sale: L("交易", "sale"), identity: L("身份", "identity"), event: L("事件", "event"), device_event: L("事件", "event"), totalizer: L("泵码", "totalizer"), totalizer_gap: L("泵码差", "totalizer gap"), samples: L("读数", "samples"), work_order: L("工单", "work order") })[kind] ?? kind ?? "";

/** The log with a run of repeats as one line. */
function steps(log, now) {
  const lines = [];
  for (const e of log) {
    const before = lines.at(-1);
    if (e.act === "repeat" && before?.act === "repeat") { before.times += 1; before.at = e.at; } else lines.push({ ...e, times: 1 });
  }
  return lines.map((e) => `<li><time>${near(e.at, now)}</time><i></i><div><b>${esc(actWord(e.act))}${e.times > 1 ? ` ×${e.times}` : ""}</b>${e.by || e.note ? `<span class="n">${esc([e.by, e.note].filter(Boolean).join(L("：", ": ")))}</span>` : ""}</div></li>`);
}

function sides(a, county) {
  const log = a.log ?? [], now = county.now(), waits = a.state === "active" || a.state === "returned";
  const lines = steps(log, now);
  if (waits) lines.push(`<li class="now" style="${alarmColours(priority(a))}"><time>—</time><i></i><div><b>${L("等待确认", "Waiting for acknowledge")}</b><span class="n">${phone ? L("记入", "to be recorded as") : L("按 A 或“确认”，记入", "Press A or Acknowledge; recorded as")} <span data-who></span></span></div></li>`);
  if (a.state === "active" || a.state === "acknowledged") lines.push(`<li class="todo"><time>—</time><i></i><div><b>${L("解除", "Clearing")}</b><span class="n">${L("计量与身份类报警由人写明理由后解除；断线由数据自行恢复。", "Metering and identity alarms are cleared by a person with a note; a lost link returns by the data.")}</span></div></li>`);
  putHTML($("side"), `<section class="box"><h2>${L("经过", "Log")}<small>${esc(a.id)}</small></h2><ol class="tl">${lines.join("")}</ol></section>
<section class="box"><h2>${L("涉及", "Subject")}</h2><div class="ev2">${[[L("油站", "station"), place(a, county)], [L("编号", "id"), a.subject?.nozzle_id ?? a.subject?.tank_id ?? a.subject?.dispenser_id ?? a.subject?.station_id], [L("责任部门", "department"), (a.departments ?? []).map(department).join(L("、", ", "))], [L("原因", "cause"), causeWord(a.cause)], [L("发生", "raised"), dayHm(a.raised_at)], [L("已持续", "lasting"), a.state === "cleared" ? age(seconds(a.cleared_at) - seconds(a.raised_at)) : age(now - seconds(a.raised_at))]].map(([k, v]) => `<span>${k}</span><span>${esc(v ?? "—")}</span>`).join("")}</div></section>`);
  for (const e of document.querySelectorAll("[data-who]")) put(e, document.querySelector("[data-duty]")?.value ?? "");
}

function paint(county) {
  rows(county);
  summary(county);
  detail(county);
  if (!scrolled && chosen) { scrolled = true; document.querySelector(".ar.sel")?.scrollIntoView({ block: "nearest" }); }
}
const said = (wrong) => { const box = $("wrong"); if (box) { box.hidden = !wrong; put(box, wrong); } };

const county = run("alarms", {
  build, alarms: paint,
  tick(c) { for (const e of document.querySelectorAll("[data-age]")) put(e, age(c.now() - seconds(e.dataset.age))); },
});
hearAcknowledge(said);
document.addEventListener("click", ({ target }) => {
  const a = selected(county);
  if (target.closest("#clear") && a) { clearing = a.id; clearForm(a); }
  if (target.closest("#cancel")) stop();
  if (target.closest("#back")) choose(county, null);
});
function stop() { clearing = null; if ($("clearing")) $("clearing").innerHTML = ""; }

document.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, textarea, select");
  if (event.key === "Escape") { if (clearing) stop(); else if (writing) event.target.blur(); else if (phone && chosen) choose(county, null); return; }
  if (writing || event.ctrlKey || event.metaKey || event.altKey || !$("rows")) return;
  const list = shownList(county), at = list.indexOf(selected(county));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const next = list[Math.max(0, Math.min(list.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)))];
    if (next) { event.preventDefault(); choose(county, next.id); document.querySelector(".ar.sel")?.scrollIntoView({ block: "nearest" }); }
  } else if (event.key === "Enter" && event.target.closest("#rows, body") && !event.target.closest("a, button") && list[at]) {
    event.preventDefault(); // or the same press would press what is focused below
    choose(county, list[at].id, true);
    $("det").querySelector(".acts button, .acts a")?.focus();
  } else if (event.key === "a" || event.key === "A") {
    document.querySelector(".det [data-ack]")?.click();
  }
});
addEventListener("popstate", () => { chosen = new URLSearchParams(location.search).get("alarm"); if ($("rows")) paint(county); });
/* the feed tells of the last four hours only; an older alarm and the figures of the day are asked for */
facts("data/alarms?state=all&limit=1000").then((all) => { past = all; if ($("rows")) paint(county); }).catch(() => {});
