// One page of a table: headings sort, rows are picked by mouse or keyboard, buttons in cells report their action.
function render({ model, el }) {
  el.classList.add("wb-rows", "wb");
  const frame = document.createElement("div");
  frame.className = "wb-scroll";
  const foot = document.createElement("div");
  foot.className = "wb-pages wb-soft";
  el.append(frame, foot);

  const set = (changes) => { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); };
  const button = (words, label, onclick, disabled) => {
    const made = document.createElement("button");
    made.type = "button"; made.textContent = words; made.setAttribute("aria-label", label); made.disabled = disabled;
    made.onclick = onclick;
    return made;
  };

  const drawHead = (table) => {
    const head = table.createTHead().insertRow();
    for (const column of model.get("columns")) {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (column.is_number) cell.className = "wb-number";
      const isSorted = model.get("sorted_by") === column.name;
      if (isSorted) cell.setAttribute("aria-sort", model.get("is_descending") ? "descending" : "ascending");
      if (column.is_sortable && column.title) {
        const arrow = isSorted ? (model.get("is_descending") ? " ↓" : " ↑") : "";
        cell.append(button(column.title + arrow, `sort by ${column.title}`, () =>
          set(isSorted ? { is_descending: !model.get("is_descending") } : { sorted_by: column.name, is_descending: column.is_number }), false));
      } else cell.textContent = column.title;
      head.append(cell);
    }
  };

  const keyOf = (part) => [part.closest("tbody tr")?.dataset.id, part.getAttribute("aria-label"), part.dataset.action].join("\n");
  const keepFocus = (change) => { // on what was pressed, or near it, though it is made anew
    const had = el.contains(document.activeElement) ? document.activeElement : null, isPaging = foot.contains(had);
    change();
    if (!had || el.contains(document.activeElement)) return;
    const row = had.closest("tbody tr"), parts = [...el.querySelectorAll("tbody tr, button:enabled")];
    const line = (id) => parts.find((part) => part.dataset.id === id);
    const next = parts.find((part) => keyOf(part) === keyOf(had)) || (row && (line(row.dataset.id) || line(model.get("selected"))))
      || (isPaging && foot.querySelector("button:enabled"));
    if (next) next.focus({ preventScroll: true });
  };

  const draw = () => {
    frame.replaceChildren();
    const rows = model.get("shown");
    if (!rows.length) {
      const nothing = document.createElement("p");
      nothing.className = "wb-note"; nothing.textContent = model.get("when_empty");
      frame.append(nothing); foot.replaceChildren();
      return;
    }
    const table = document.createElement("table");
    table.className = "wb-table";
    table.setAttribute("aria-label", model.get("label"));
    drawHead(table);
    const body = table.createTBody(), columns = model.get("columns");
    for (const row of rows) {
      const line = body.insertRow();
      line.dataset.id = row.id; line.tabIndex = 0;
      line.setAttribute("aria-selected", String(row.id === model.get("selected")));
      row.cells.forEach((cell, i) => {
        const place = line.insertCell();
        place.innerHTML = cell;
        if (columns[i].is_number) place.className = "wb-number";
      });
    }
    body.onclick = (event) => {
      const line = event.target.closest("tr"), pressed = event.target.closest("[data-action]");
      if (pressed) { event.stopPropagation(); model.send({ action: pressed.dataset.action, id: line.dataset.id }); }
      else if (line) set({ selected: line.dataset.id });
    };
    body.onkeydown = (event) => {
      const line = event.target.closest("tr");
      if (!line || event.target !== line) return;
      const next = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
      if (next) { event.preventDefault(); next.focus(); set({ selected: next.dataset.id }); }
      if (event.key === "Enter") { event.preventDefault(); set({ selected: line.dataset.id }); }
    };
    frame.append(table);
    drawFoot();
  };

  const drawFoot = () => {
    const page = model.get("page"), last = model.get("n_pages") - 1;
    foot.replaceChildren();
    if (!last) { foot.textContent = `${model.get("n_rows").toLocaleString("en")} rows`; return; }
    foot.append(button("‹", "page before", () => set({ page: page - 1 }), page === 0),
      ` page ${(page + 1).toLocaleString("en")} of ${(last + 1).toLocaleString("en")} `,
      button("›", "next page", () => set({ page: page + 1 }), page === last),
      ` · ${model.get("n_rows").toLocaleString("en")} rows`);
  };

  const mark = () => {
    for (const line of frame.querySelectorAll("tbody tr")) line.setAttribute("aria-selected", String(line.dataset.id === model.get("selected")));
  };
  model.on("change:shown change:sorted_by change:is_descending", () => keepFocus(draw));
  model.on("change:n_rows change:n_pages change:page", () => { if (model.get("shown").length) keepFocus(drawFoot); });
  model.on("change:selected", mark);
  draw();
}
export default { render };
