/* Everything wrong with the page as it is drawn: clipped, overlapping, too small, outside the window. */
() => {
  const phone = innerWidth < 700, out = [];
  const meets = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4;
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg") && e.tagName !== "svg") continue;
    if (e.closest("#flow-chart, #level-chart, .sr") || e.tagName === "SCRIPT" || e.tagName === "OPTION" || e.tagName === "OPTGROUP") continue;
    const c = getComputedStyle(e), r = e.getBoundingClientRect(), what = `${e.tagName.toLowerCase()}.${e.getAttribute("class")} | ${e.textContent.trim().slice(0, 40)}`;
    if (c.display === "none" || !e.checkVisibility()) continue;
    const scrolls = e.hasAttribute("data-scroll");
    if (!scrolls && (c.overflowX !== "visible" || c.textOverflow === "ellipsis") && e.scrollWidth > e.clientWidth + 1) out.push("clipped across: " + what);
    if (c.overflowY === "hidden" && e.scrollHeight > e.clientHeight + 1) out.push("clipped down: " + what);
    if (r.width && (r.right > innerWidth + 1 || r.left < -1) && !e.closest("[data-scroll]")) out.push("outside across: " + what);
    if (r.width && !phone && r.bottom > innerHeight + 1 && !e.closest("[data-scroll]")) out.push("outside below: " + what);
    if (parseFloat(c.fontSize) < 11.9 && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) out.push(`small ${c.fontSize}: ` + what);
    if (phone && e.matches("button, select, input, textarea, nav a, .sw a, a.btn, .ar, .chips button") && r.width && (r.height < 43.5 || r.width < 43.5)) out.push(`hard to touch ${r.width.toFixed(0)}×${r.height.toFixed(0)}: ` + what);
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) out.push("scrolls across");
  if (!phone && document.documentElement.scrollHeight > innerHeight + 1) out.push("scrolls down");
  const words = (root) => {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), found = [];
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
      const p = n.parentElement;
      if (!n.textContent.trim() || p.closest("svg, script, style, option, .sr, .nz, #flow-chart, #level-chart") || !p.checkVisibility()) continue;
      const range = document.createRange();
      range.selectNodeContents(n);
      const scroller = p.closest("[data-scroll]")?.getBoundingClientRect();
      for (const r of range.getClientRects()) if (r.width > 1 && !(scroller && (r.bottom > scroller.bottom + 1 || r.top < scroller.top - 1))) found.push([n.textContent.trim().slice(0, 30), r, p]);
    }
    return found;
  };
  for (const b of document.querySelectorAll(".nb, .tile, .row, .ar, .btn, .tank, .kpi, .al, .disp, .box")) {
    if (!b.checkVisibility()) continue;
    const R = b.getBoundingClientRect();
    for (const [text, r, p] of words(b)) if (!p.closest(".el") && (r.right > R.right + 1 || r.left < R.left - 1 || r.bottom > R.bottom + 2)) out.push(`sticks out of .${b.getAttribute("class")}: ${text}`);
  }
  const boxes = [...document.querySelectorAll(".top, .box, .tile")].filter((e) => e.checkVisibility() && !e.querySelector(".box"));
  for (const b of boxes) {
    const w = words(b);
    for (let i = 0; i < w.length; i++) for (let k = i + 1; k < w.length; k++) if (w[i][2] !== w[k][2] && !w[i][2].closest("thead") && !w[k][2].closest("thead") && meets(w[i][1], w[k][1])) out.push(`overlap: ${w[i][0]} / ${w[k][0]}`);
  }
  for (const s of document.querySelectorAll("svg:not(.mk)")) {
    if (s.closest("#flow-chart, #level-chart") || !s.checkVisibility()) continue;
    const R = s.getBoundingClientRect(), T = [...s.querySelectorAll("text")].map((x) => [x, x.getBoundingClientRect()]).filter((q) => q[1].width);
    for (const [x, r] of T) {
      const px = parseFloat(getComputedStyle(x).fontSize) * (x.getScreenCTM() || { a: 1 }).a;
      if (r.right > R.right + 2 || r.left < R.left - 2 || r.bottom > R.bottom + 3 || r.top < R.top - 3) out.push("outside its figure: " + x.textContent);
      if (px < 11.7 && !x.classList.contains("mkn")) out.push(`small ${px.toFixed(1)}: ` + x.textContent);
    }
    for (let i = 0; i < T.length; i++) for (let k = i + 1; k < T.length; k++) if (meets(T[i][1], T[k][1])) out.push(`overlap: ${T[i][0].textContent} / ${T[k][0].textContent}`);
  }
  return [...new Set(out)];
}
