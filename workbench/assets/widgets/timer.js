// Asks the kernel to look again while the page is seen, one question at a time, and says how old the data is.
const PATIENCE_MS = 30000; // a question that got no answer for so long is asked again

function render({ model, el }) {
  el.classList.add("wb", "wb-live");
  const badge = document.createElement("span"), words = document.createElement("span");
  badge.className = "wb-badge"; words.className = "wb-soft";
  el.append(badge, " ", words);
  let asked = 0, heard = performance.now();

  const age = (seconds) => seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  const tell = () => {
    const old = model.get("age_s") + (performance.now() - heard) / 1000;
    const isLive = old < 3 * model.get("every_s") + 10;
    badge.textContent = isLive ? "live" : "stale";
    badge.className = `wb-badge ${isLive ? "wb-yes" : "wb-cannot_tell"}`;
    words.textContent = `data ${age(old)} old${model.get("about") ? " · " + model.get("about") : ""}`;
    el.dataset.age = String(Math.round(old));
  };
  const ask = () => {
    tell();
    if (document.visibilityState !== "visible") return;
    const now = performance.now();
    if (asked && now - asked < PATIENCE_MS) return;
    if (now - heard < 1000 * model.get("every_s") - 200) return;
    asked = now;
    try { model.send({ look: true }); } catch (error) { /* the banner of the heartbeat says it */ }
  };
  const answered = () => { asked = 0; heard = performance.now(); tell(); };
  model.on("msg:custom", answered);
  model.on("change:about change:age_s", tell);
  document.addEventListener("visibilitychange", ask);
  const timer = setInterval(ask, 1000);
  tell();
  return () => { clearInterval(timer); document.removeEventListener("visibilitychange", ask); model.off("msg:custom", answered); };
}
export default { render };
