/* The figures of a finding, as the server draws them for this width, language and theme; and the same to take along. */
import { L, ZH, esc, say } from "./words.js";

const PAPER_WIDTH = 1000, SMALLEST = 280, LARGEST = 1200, STEP = 20;

/** Each figure as a picture with its links; `wide` pixels are there for it. */
export function pictures(alarm, wide) {
  const width = Math.min(LARGEST, Math.max(SMALLEST, Math.floor(wide / STEP) * STEP)), theme = document.documentElement.dataset.theme;
  const shown = { language: ZH ? "zh" : "en", finding: alarm.finding?.id ?? "" };
  const at = (i, form, more) =>
    esc(`data/alarms/${encodeURIComponent(alarm.id)}/figures/${i}.${form}?${new URLSearchParams({ ...shown, ...more })}`);
  const link = (i, form) =>
    `<a class="btn" href="${at(i, form, { width: PAPER_WIDTH })}" download="${esc(`${alarm.id}-${i + 1}-${shown.language}.${form}`)}">${L("下载", "Download")} ${form.toUpperCase()}</a>`;
  return (alarm.finding?.figures ?? []).map((figure, i) => `<figure class="pic">
    <img src="${at(i, "svg", { theme, width })}" width="${width}" alt="${esc(L("图：", "Figure: ") + say(figure.title))}">
    <p class="wrong" hidden>${L("图现在取不到；下面的证据不受影响。", "The figure cannot be had now; the evidence below stands.")}</p>
    <figcaption>${link(i, "png")}${link(i, "svg")}</figcaption></figure>`).join("");
}

/* a picture that does not come says so in words; error events do not bubble */
document.addEventListener("error", ({ target }) => {
  if (!target.matches?.(".pic img")) return;
  target.hidden = true;
  target.nextElementSibling.hidden = false;
}, true);
