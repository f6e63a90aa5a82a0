// Chips that narrow what a page shows: values by column, a range, words to search; each opens by mouse or keyboard.
function render({ model, el }) {
  el.classList.add("wb", "wb-filters");
  const make = (tag, className, words) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (words !== undefined) made.textContent = words;
    return made;
  };
  const set = (changes) => { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); };

  const bar = make("div", "wb-chips"), told = make("span", "wb-told");
  bar.setAttribute("role", "group"); bar.setAttribute("aria-label", "filters");
  told.setAttribute("role", "status");
  el.append(bar);

  const chip = (name, title, isOn, fill) => {
    const made = make("details", "wb-chip"), summary = make("summary", "", title);
    made.dataset.name = name; made.classList.toggle("wb-on", isOn);
    const inside = make("div", "wb-inside");
    made.append(summary, inside);
    fill(inside);
    made.addEventListener("toggle", () => { if (made.open) for (const other of bar.querySelectorAll("details[open]")) if (other !== made) other.open = false; });
    made.addEventListener("keydown", (event) => { if (event.key === "Escape") { made.open = false; summary.focus(); } });
    return made;
  };

  const column = ({ name, title, values }) => {
    const picked = model.get("picked")[name] || [];
    const words = picked.length ? `${title}: ${picked.length > 2 ? `${picked.length} of ${values.length}` : picked.join(", ")}` : `${title}: all`;
    return chip(name, words, picked.length > 0, (inside) => {
      for (const { value, n } of values) {
        const label = make("label"), box = make("input");
        box.type = "checkbox"; box.checked = picked.includes(value); box.value = value;
        box.onchange = () => {
          const all = { ...model.get("picked") }, now = new Set(all[name] || []);
          if (box.checked) now.add(value); else now.delete(value);
          all[name] = [...now];
          set({ picked: all });
        };
        label.append(box, ` ${value} `, make("span", "wb-soft", n.toLocaleString("en")));
        inside.append(label);
      }
    });
  };

  const range = ({ name, title, unit, min, max }) => {
    const [low, high] = model.get("ranges")[name] || [min, max], isOn = name in model.get("ranges");
    return chip(name, isOn ? `${title} ${low} … ${high} ${unit}` : `${title}: all`, isOn, (inside) => {
      const fields = [["from", low], ["to", high]].map(([word, value]) => {
        const label = make("label", "", `${word} `), field = make("input");
        field.type = "number"; field.value = value; field.min = min; field.max = max; field.setAttribute("aria-label", `${title} ${word}`);
        label.append(field, ` ${unit}`); inside.append(label);
        return field;
      });
      for (const field of fields) field.onchange = () => {
        const [a, b] = fields.map((f, end) => (f.value === "" ? [min, max][end] : Number(f.value)));
        const all = { ...model.get("ranges") };
        if (a <= min && b >= max) delete all[name]; else all[name] = [Math.min(a, b), Math.max(a, b)];
        set({ ranges: all });
      };
    });
  };

  const search = make("input", "wb-search");
  search.type = "search"; search.placeholder = "search text…"; search.setAttribute("aria-label", "search what was said or heard");
  let waiting;
  search.oninput = () => { clearTimeout(waiting); waiting = setTimeout(() => set({ search: search.value }), 250); };

  const removable = (words, label, onclick) => {
    const made = make("button", "wb-chip wb-on", `${words} ✕`);
    made.type = "button"; made.setAttribute("aria-label", label); made.onclick = onclick;
    return made;
  };

  const draw = () => {
    const open = bar.querySelector("details[open]")?.dataset.name, focused = document.activeElement;
    const inOpen = bar.contains(focused) && focused.matches("input[type=checkbox]") ? focused.value : null;
    const parts = model.get("columns").map(column).concat(model.get("spans").map(range), [search]);
    for (const { key, title } of model.get("extra")) parts.push(removable(title, `no longer only ${title}`, () => model.send({ drop: key })));
    const isFiltered = Object.values(model.get("picked")).some((v) => v.length) || Object.keys(model.get("ranges")).length || model.get("search") || model.get("extra").length;
    if (isFiltered) {
      const clear = make("button", "wb-plain", "show all");
      clear.type = "button"; clear.onclick = () => model.send({ drop: "all" });
      parts.push(clear);
    }
    told.textContent = model.get("told");
    bar.replaceChildren(...parts, told);
    if (search.value !== model.get("search") && document.activeElement !== search) search.value = model.get("search");
    if (focused === search) search.focus();
    const again = open && [...bar.querySelectorAll("details")].find((d) => d.dataset.name === open);
    if (again) {
      again.open = true;
      if (inOpen !== null) [...again.querySelectorAll("input")].find((box) => box.value === inOpen)?.focus();
    }
  };
  const outside = (event) => { for (const open of bar.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false; };
  document.addEventListener("pointerdown", outside);
  model.on("change:columns change:spans change:picked change:ranges change:extra", draw);
  model.on("change:search", draw);
  model.on("change:told", () => { told.textContent = model.get("told"); });
  draw();
  return () => document.removeEventListener("pointerdown", outside);
}
export default { render };
