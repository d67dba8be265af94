/* The alarm page: the list, why the chosen one was raised, and what has been done about it. */
import { ALARM_STATE, L, age, causeWord, dayHm, department, esc, near, nearShort, say, seconds } from "./words.js";
import { MARK, alarmColours, mark, priority } from "./marks.js";
import { gradeOf, headline, place, subjectPart } from "./county.js";
import { address, put, putHTML, run } from "./bar.js";
import { facts } from "./feed.js";
import { act, dutyField, hearAcknowledge } from "./acts.js";
import { dispenserWord } from "./forecourt.js";
import { evidence, figures, timeline } from "./evidence.js";
import { pictures } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const FILTERS = [
  ["current", L("当前", "Current"), (a) => a.state !== "cleared"],
  ["active", L("未确认", "Unacknowledged"), (a) => a.state === "active"],
  ["acknowledged", L("已确认", "Acknowledged"), (a) => a.state === "acknowledged"],
  ["returned", L("恢复待确认", "Returned"), (a) => a.state === "returned"],
  ["cleared", L("近 4 小时解除", "Cleared in 4 h"), (a) => a.state === "cleared"],
];
const DAY_S = 86400, WORST_S = 600, TWO_COLUMNS = 1750;
const query = new URLSearchParams(location.search);
let filter = FILTERS.some(([key]) => key === query.get("state")) ? query.get("state") : "current";
let chosen = query.get("alarm"), clearing = null, phone = false, scrolled = false;
let past = [], sales = { of: null, list: null };

function build(county) {
  phone = innerWidth < 700;
  $("main")?.remove();
  document.querySelector(".top").insertAdjacentHTML("afterend", `<main class="al3" id="main">
<section class="box lst">
  <h2>${L("报警", "Alarms")}<small>${L("未确认在前，再按等级、时间", "unacknowledged first, then priority and time")}</small>
    <a class="csv" href="data/alarms?state=all&amp;limit=10000&amp;format=csv" download>${L("导出 CSV", "Export CSV")}</a></h2>
  <div class="chips" id="chips" role="group"></div>
  <div class="rows" id="rows" role="listbox" aria-label="${L("报警", "Alarms")}" tabindex="0" data-scroll></div>
  <div class="sumrow" id="sum"></div></section>
<section class="box det" id="det" data-scroll></section><div class="side" id="side"></div></main>`);
  $("rows").addEventListener("click", ({ target }) => {
    const row = target.closest(".ar");
    if (row) choose(county, row.dataset.id, true);
  });
  $("chips").addEventListener("click", ({ target }) => {
    const chip = target.closest("button");
    if (chip) { filter = chip.dataset.filter; paint(county); }
  });
}

const shownList = (county) => county.alarms.filter(FILTERS.find(([key]) => key === filter)[2]);
/** The one whose details stand beside the list; on the phone only one that was asked for. */
function selected(county) {
  const asked = (a) => a.id === chosen;
  return county.alarms.find(asked) ?? past.find(asked) ?? (phone ? null : shownList(county)[0] ?? null);
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

// ---------------------------------------------------------------- the list

function rows(county) {
  const list = shownList(county), sel = selected(county);
  const chip = ([key, word, of]) =>
    `<button data-filter="${key}" class="${key === filter ? "on" : ""}" aria-pressed="${key === filter}">${word} ${county.alarms.filter(of).length}</button>`;
  const none = filter === "current" ? L("没有报警。", "No alarms.") : L("没有这样的报警。", "No such alarm.");
  putHTML($("chips"), FILTERS.map(chip).join(""));
  putHTML($("rows"), list.map((a) => row(a, a === sel, county)).join("") || `<p class="none">${none}</p>`);
  $("rows").setAttribute("aria-activedescendant", sel ? `row-${sel.id}` : "");
}
function row(a, sel, county) {
  const p = priority(a), text = esc(headline(a, county)), now = county.now(), to = a.departments ?? [];
  const look = ["ar", a.state === "active" && "un", sel && "sel", (a.state === "cleared" || !p) && "quiet"].filter(Boolean).join(" ");
  const dept = to.length ? department(to[0]) + (to.length > 1 ? ` +${to.length - 1}` : "") : "—";
  return `<div class="${look}" role="option" aria-selected="${sel}" id="row-${esc(a.id)}" data-id="${esc(a.id)}" style="${alarmColours(p)}">
    <div class="mark">${mark(p, MARK[a.state], 24)}</div>
    <span class="when"><span data-age="${esc(a.raised_at)}">${age(now - seconds(a.raised_at))}</span><br>${nearShort(a.raised_at, now)}</span>
    <div class="what"><b class="el" title="${text}">${text}</b><span class="el">${esc(place(a, county))}</span></div>
    <span class="state">${esc(ALARM_STATE[a.state] ?? a.state)}</span>
    <span class="dept"><span class="el">${esc(dept)}</span><span class="el">${esc(a.acknowledged_by || "—")}</span></span></div>`;
}

/** Figures of the last day, from the alarms themselves. */
function summary(county) {
  const all = [...new Map([...past, ...county.alarms].filter(priority).map((a) => [a.id, a])).values()], now = county.now();
  const at = all.map((a) => seconds(a.raised_at)).filter((s) => now - s < DAY_S).sort((a, b) => a - b);
  const worst = at.reduce((most, s, i) => Math.max(most, at.filter((x, k) => k >= i && x - s < WORST_S).length), 0);
  const waits = all.map((a) => seconds(a.acknowledged_at) - seconds(a.raised_at)).filter((s) => s >= 0).sort((a, b) => a - b);
  const median = waits.length ? age(waits[Math.floor(waits.length / 2)]) : "—";
  putHTML($("sum"), [
    `<span>${L("24 小时", "24 h")} <b>${at.length}</b></span>`,
    `<span>${L("每小时", "per hour")} <b>${(at.length / 24).toFixed(1)}</b> / 6</span>`,
    `<span>${L("最高 10 分钟", "worst 10 min")} <b>${worst}</b> / 10</span>`,
    `<span>${L("确认中位", "median to acknowledge")} <b>${median}</b></span>`,
  ].join(""));
}

// ---------------------------------------------------------------- the chosen one

function detail(county) {
  const a = selected(county);
  document.querySelector(".al3").classList.toggle("open", Boolean(a && chosen));
  if (!a) {
    const last = county.cleared()[0], at = last && near(last.cleared_at, county.now());
    const before = last ? L(`上一条 ${at} 已解除：`, ` The last one was cleared at ${at}: `) + esc(headline(last, county)) : "";
    putHTML($("det"), `<p class="none">${L("没有选中的报警。", "No alarm is chosen.")}${before}</p>`);
    putHTML($("side"), "");
    return;
  }
  if (!$("clear-note") || clearing !== a.id) { // while a person is writing nothing moves under the hands
    putHTML($("det"), explained(a, county));
    if (clearing === a.id) clearForm(a);
    putHTML($("pics"), pictures(a, $("pics").clientWidth));
    more(a, county);
  }
  sides(a, county);
}

function explained(a, county) {
  const x = a.finding?.explanation ?? {}, s = a.subject ?? {}, p = priority(a);
  const parts = [place(a, county), s.station_id, s.dispenser_id && dispenserWord(s.dispenser_id), subjectPart(a, county), gradeOf(a, county)];
  const where = parts.filter((v, i) => v && parts.indexOf(v) === i).map(esc).join(" · ");
  const state = esc([ALARM_STATE[a.state], a.acknowledged_by].filter(Boolean).join(" "));
  const words = [
    [L("发生了什么", "What"), x.what], [L("为什么判定", "Why"), x.why],
    [L("其他可能", "Could it be else"), x.otherwise], [L("到场怎么测", "On site"), x.on_site],
  ].filter(([, text]) => say(text)).map(([word, text]) => `<p><b>${word}</b>${esc(say(text))}</p>`);
  return `${phone ? `<button class="btn back" id="back">${L("← 报警列表", "← Alarms")}</button>` : ""}
<div class="h">${mark(p, MARK[a.state], 46)}<h1>${esc(headline(a, county))}</h1><div class="acts">${acts(a, county)}</div>
  <div class="m">${where} · ${state} · ${esc(a.id)} · ${L("规则", "rule")} ${esc(a.rule)}</div></div>
<div class="wrong" id="wrong" role="alert" hidden></div>${phone ? dutyField() : ""}<div id="clearing"></div>
<div class="kv">${figures(a)}</div><div class="why2">${words.join("")}</div><div class="pics" id="pics"></div><div class="more2" id="more"></div>`;
}
function acts(a, county) {
  const id = a.subject?.station_id, buttons = [];
  if (waiting(a)) buttons.push(`<button class="btn main" data-ack="${esc(a.id)}">${L("确认", "Acknowledge")}<kbd>A</kbd></button>`);
  if (a.state !== "cleared") buttons.push(`<button class="btn" id="clear">${L("解除…", "Clear…")}</button>`);
  if (county.byId.has(id)) buttons.push(`<a class="btn" href="${esc(address("station", { id }))}">${L("看油站", "Station")}</a>`);
  return buttons.join("");
}
const waiting = (a) => a.state === "active" || a.state === "returned";

/** Evidence and, for a nozzle, its sales; these are asked for once an alarm. */
function more(a, county) {
  const nozzle = a.subject?.nozzle_id;
  if (nozzle && sales.of !== a.id) {
    sales = { of: a.id, list: null };
    facts(`data/stations/${encodeURIComponent(a.subject.station_id)}/transactions?limit=1000`).then((list) => {
      if (sales.of !== a.id) return;
      sales.list = list.filter((s) => s.nozzle_id === nozzle);
      detail(county);
    }).catch(() => { /* the rule's own evidence stands there */ });
  }
  const mine = nozzle && sales.of === a.id ? sales.list : null, box = $("more");
  putHTML(box, evidence(a, mine, county.now(), { wide: box.clientWidth, two: innerWidth > TWO_COLUMNS, low: phone }));
}

function sides(a, county) {
  const now = county.now(), s = a.subject ?? {}, lines = timeline(a.log ?? [], now);
  const step = (look, word, note) => `<li class="${look}" style="${alarmColours(priority(a))}"><time>—</time><i></i><div><b>${word}</b><span class="n">${note}</span></div></li>`;
  const press = phone ? L("记入", "to be recorded as") : L("按 A 或“确认”，记入", "Press A or Acknowledge; recorded as");
  if (waiting(a)) lines.push(step("now", L("等待确认", "Waiting for acknowledge"), `${press} <span data-who></span>`));
  if (a.state === "active" || a.state === "acknowledged") lines.push(step("todo", L("解除", "Clearing"), L(
    "计量与身份类报警由人写明理由后解除；断线由数据自行恢复。",
    "Metering and identity alarms are cleared by a person with a note; a lost link returns by the data.")));
  const lasting = (a.state === "cleared" ? seconds(a.cleared_at) : now) - seconds(a.raised_at);
  const about = [
    [L("油站", "station"), place(a, county)], [L("编号", "id"), s.nozzle_id ?? s.tank_id ?? s.dispenser_id ?? s.station_id],
    [L("责任部门", "department"), (a.departments ?? []).map(department).join(L("、", ", "))], [L("原因", "cause"), causeWord(a.cause)],
    [L("发生", "raised"), dayHm(a.raised_at)], [L("已持续", "lasting"), age(lasting)],
  ].map(([word, value]) => `<span>${word}</span><span>${esc(value ?? "—")}</span>`);
  putHTML($("side"), `<section class="box"><h2>${L("经过", "Log")}<small>${esc(a.id)}</small></h2><ol class="tl">${lines.join("")}</ol></section>
<section class="box"><h2>${L("涉及", "Subject")}</h2><div class="ev2">${about.join("")}</div></section>`);
  for (const e of document.querySelectorAll("[data-who]")) put(e, document.querySelector("[data-duty]")?.value ?? "");
}

// ---------------------------------------------------------------- clearing

/** Clearing is a person's act: it wants a note, and says so; the form stands in the page, not in front of it. */
function clearForm(a) {
  const words = L(
    "解除是人的决定，不是数据恢复：会以您的名字写入记录。请写明理由。",
    "Clearing is a person's decision, not the data returning to normal: it is recorded under your name. Say why.");
  $("clearing").innerHTML = `<form class="clear"><label for="clear-note">${words}</label>
    <textarea id="clear-note" rows="2" maxlength="500" required></textarea>
    <div><button class="btn main" type="submit">${L("以我的名义解除", "Clear in my name")}</button>
      <button class="btn" type="button" id="cancel">${L("取消", "Cancel")}<kbd>Esc</kbd></button></div></form>`;
  $("clear-note").focus();
  $("clearing").firstChild.addEventListener("submit", async (event) => {
    event.preventDefault();
    const note = $("clear-note").value.trim(), button = event.target.querySelector("[type=submit]");
    if (!note) { $("clear-note").focus(); return; }
    button.disabled = true;
    const wrong = await act(a.id, "clear", note);
    button.disabled = false;
    said(wrong);
    if (!wrong) { stop(); paint(county); }
  });
}
function stop() { clearing = null; if ($("clearing")) $("clearing").innerHTML = ""; }
function said(wrong) { const box = $("wrong"); if (box) { box.hidden = !wrong; put(box, wrong); } }

// ---------------------------------------------------------------- what moves it

function paint(county) {
  rows(county);
  summary(county);
  detail(county);
  if (!scrolled && chosen) { scrolled = true; reveal(); }
}
const reveal = () => document.querySelector(".ar.sel")?.scrollIntoView({ block: "nearest" });

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

document.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, textarea, select");
  if (event.key === "Escape") {
    if (clearing) stop();
    else if (writing) event.target.blur();
    else if (phone && chosen) choose(county, null);
    return;
  }
  if (writing || event.ctrlKey || event.metaKey || event.altKey || !$("rows")) return;
  const list = shownList(county), at = list.indexOf(selected(county));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const next = list[Math.max(0, Math.min(list.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)))];
    if (next) { event.preventDefault(); choose(county, next.id); reveal(); }
  } else if (event.key === "Enter" && !event.target.closest("a, button") && list[at]) {
    event.preventDefault(); // or the same press would press what is focused below
    choose(county, list[at].id, true);
    $("det").querySelector(".acts button, .acts a")?.focus();
  } else if (event.key === "a" || event.key === "A") {
    document.querySelector(".det [data-ack]")?.click();
  }
});
addEventListener("popstate", () => { chosen = new URLSearchParams(location.search).get("alarm"); if ($("rows")) paint(county); });
/* the feed tells of the last four hours only; an older alarm and the figures of the day are asked for */
facts("data/alarms?state=all&limit=1000").then((all) => { past = all; if ($("rows")) paint(county); }).catch(() => { /* figures of 4 h then */ });
