// A link that asks the kernel for a file and saves it.
function render({ model, el }) {
  el.classList.add("wb");
  const link = document.createElement("button");
  link.type = "button"; link.className = "wb-plain"; link.textContent = model.get("words");
  link.onclick = () => model.send({ wanted: true });
  el.append(link);
  const save = (content, buffers) => {
    const address = URL.createObjectURL(new Blob(buffers, { type: "text/csv" })), saved = document.createElement("a");
    saved.href = address; saved.download = content.name;
    document.body.append(saved); saved.click(); saved.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };
  model.on("msg:custom", save);
  return () => model.off("msg:custom", save);
}
export default { render };
