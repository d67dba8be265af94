const told = new URLSearchParams(location.search).get("lang") || navigator.language;
document.body.classList.toggle("zh", told.startsWith("zh"));
document.querySelector("button").onclick = () => document.body.classList.toggle("zh");
