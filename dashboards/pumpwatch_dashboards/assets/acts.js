/* What a person does to an alarm, and in whose name; nothing here decides, the server does. */
import { L, esc } from "./words.js";
import { reason } from "./feed.js";

const KEY = "pumpwatch.duty";
const otherwise = () => L("值班员", "operator");
export function duty() {
  try { return localStorage.getItem(KEY)?.trim() || otherwise(); } catch (_) { return otherwise(); }
}
export function setDuty(text) {
  try { localStorage.setItem(KEY, text.trim().slice(0, 40)); } catch (_) { /* private window: for this page only */ }
}
export const dutyField = () =>
  `<label class="duty"><span>${L("值班", "on duty")}</span><input maxlength="40" autocomplete="off" spellcheck="false" data-duty value="${esc(duty())}"></label>`;
document.addEventListener("change", ({ target }) => {
  if (!target.matches?.("[data-duty]")) return;
  setDuty(target.value);
  for (const field of document.querySelectorAll("[data-duty]")) field.value = duty();
});

/** Post one act; resolves to "" or to why it was not done. */
export async function act(alarmId, what, note = "") {
  try {
    const answer = await fetch(`data/alarms/${encodeURIComponent(alarmId)}/${what}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ by: duty(), note }),
    });
    return answer.ok ? "" : L("未完成：", "not done: ") + reason(await answer.json().catch(() => null), answer.status);
  } catch (_) {
    return L("未送达：看板服务没有应答", "not sent: the dashboards do not answer");
  }
}

/** A press on any [data-ack] acknowledges at once, without a question; what went wrong is said in the region `said`. */
export function hearAcknowledge(said) {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-ack]");
    if (!button || button.disabled) return;
    event.preventDefault();
    button.disabled = true;
    const wrong = await act(button.dataset.ack, "acknowledge");
    button.disabled = false;
    said(wrong);
  });
}
