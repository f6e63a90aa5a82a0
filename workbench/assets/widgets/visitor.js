// Asks a visitor's name once, when something is first written, and remembers it in this browser.
const KEPT = "workbench-visitor";

function render({ model, el }) {
  el.classList.add("wb");
  const dialog = document.createElement("dialog");
  dialog.className = "wb wb-dialog";
  dialog.innerHTML = `<form method="dialog"><p class="wb-title">Who is marking?</p><p class="wb-soft">Your name is kept with what you mark, so that others can ask you. It is asked once.</p>
    <input name="name" aria-label="your name" autocomplete="name" required maxlength="80"><menu><button value="cancel" formnovalidate>not now</button><button value="ok" class="wb-main">go on</button></menu></form>`;
  document.body.append(dialog);
  const field = dialog.querySelector("input");
  const known = () => { try { return localStorage.getItem(KEPT) || ""; } catch (error) { return ""; } };
  if (!model.get("name") && known()) { model.set("name", known()); model.save_changes(); }
  model.on("msg:custom", () => { if (!dialog.open) { dialog.returnValue = ""; field.value = model.get("name") || known(); dialog.showModal(); field.focus(); } });
  // Enter in the field presses the first button otherwise, which is "not now".
  field.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); dialog.querySelector("[value=ok]").click(); } };
  dialog.onclose = () => {
    const name = field.value.trim();
    if (dialog.returnValue !== "ok" || !name) { model.send({ cancelled: true }); return; }
    try { localStorage.setItem(KEPT, name); } catch (error) { /* a private window forgets */ }
    model.set("name", name); model.save_changes();
    model.send({ named: name });
  };
  return () => dialog.remove();
}
export default { render };
