/* Before anything is painted: language and theme from the address, else as last chosen, else Chinese and light. */
(function () {
  "use strict";
  var query = new URLSearchParams(location.search), root = document.documentElement;
  function choice(name, values) {
    var asked = query.get(name), kept = null;
    try { kept = localStorage.getItem("pumpwatch." + name); } catch (_) { /* private window */ }
    var chosen = values.indexOf(asked) >= 0 ? asked : values.indexOf(kept) >= 0 ? kept : values[0];
    try { if (asked === chosen) localStorage.setItem("pumpwatch." + name, chosen); } catch (_) { /* private window */ }
    return chosen;
  }
  var lang = choice("lang", ["zh", "en"]), theme = choice("theme", ["light", "dark"]);
  root.lang = lang === "zh" ? "zh-Hans-CN" : "en";
  root.dataset.theme = theme;
  if (innerWidth >= 3000) root.dataset.view = "wall";
  /* charts are drawn by the server, which knows only the address */
  if ("charts" in root.dataset && (query.get("lang") || "zh") + (query.get("theme") || "light") !== lang + theme) {
    query.set("lang", lang); query.set("theme", theme);
    location.replace("?" + query);
  }
})();
