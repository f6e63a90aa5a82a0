// Things to switch on and off, as many as one likes; each is a button that says whether it is on.
function render({ model, el }) {
  el.classList.add("wb", "wb-choices");
  const draw = () => {
    const focused = el.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const title = document.createElement("span");
    title.className = "wb-soft"; title.textContent = model.get("title");
    const picked = new Set(model.get("picked"));
    el.setAttribute("role", "group"); el.setAttribute("aria-label", model.get("title"));
    el.replaceChildren(title, ...model.get("options").map(([name, words]) => {
      const made = document.createElement("button");
      made.type = "button"; made.className = "wb-chip"; made.dataset.name = name; made.textContent = words;
      made.classList.toggle("wb-on", picked.has(name)); made.setAttribute("aria-pressed", String(picked.has(name)));
      made.onclick = () => {
        const now = model.get("picked");
        model.set("picked", now.includes(name) ? now.filter((other) => other !== name) : [...now, name]);
        model.save_changes();
      };
      return made;
    }));
    if (focused !== null) [...el.querySelectorAll("button")].find((b) => b.dataset.name === focused)?.focus();
  };
  model.on("change:options change:picked", draw);
  draw();
}
export default { render };
