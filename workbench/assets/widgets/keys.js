// Keys that work wherever the focus is inside the part of the page that they stand in, but not while somebody types.
function render({ model, el }) {
  el.classList.add("wb", "wb-hint", "wb-soft");
  for (const [key, word] of model.get("hint")) {
    const made = document.createElement("kbd");
    made.textContent = key;
    el.append(made, ` ${word} `);
  }
  const known = new Set(model.get("known"));
  let place = null;
  const pressed = (event) => {
    const target = event.target, isButton = target.closest("button, summary, a, select");
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const key = event.key === " " ? "space" : event.key;
    if (key.startsWith("Arrow") && target.closest("input[type=range]")) return; // which they move
    if (!known.has(key) || (key === "space" && isButton && !isButton.matches(".wb-play"))) return;
    event.preventDefault();
    if (event.repeat) return; // a key held down would mark clips that nobody heard
    if (key === "space") place.querySelector(".wb-player")?.dispatchEvent(new Event("wb-play"));
    else model.send({ key });
  };
  const settle = () => { // the page is put together after its parts are drawn
    place = el.closest(".wb-keys");
    if (!place) { requestAnimationFrame(settle); return; }
    place.tabIndex = -1;
    place.addEventListener("keydown", pressed);
  };
  settle();
  return () => place?.removeEventListener("keydown", pressed);
}
export default { render };
