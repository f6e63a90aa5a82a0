// A page whose kernel is gone says so, and offers the way back.
const EVERY_MS = 3000;

function render({ model, el }) {
  const banner = document.createElement("div");
  banner.className = "wb-lost";
  banner.setAttribute("role", "alert");
  banner.hidden = true;
  banner.innerHTML = "<b>This page has lost its connection.</b> What it shows is as it was; what you marked is kept. ";
  const again = document.createElement("button");
  again.textContent = "Load it again";
  again.onclick = () => window.location.reload();
  banner.append(again);
  document.body.append(banner);

  let heard = performance.now();
  const answer = () => { heard = performance.now(); banner.hidden = true; };
  model.on("msg:custom", answer);
  const ask = () => {
    if (performance.now() - heard > 1000 * model.get("silence_s")) banner.hidden = false;
    try { model.send({ ping: Date.now() }); } catch (error) { /* the banner says it */ }
  };
  ask();
  const timer = setInterval(ask, EVERY_MS);
  return () => { clearInterval(timer); banner.remove(); model.off("msg:custom", answer); };
}
export default { render };
