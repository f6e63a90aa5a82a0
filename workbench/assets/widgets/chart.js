// Draws a figure with the page's plotly.js, keeps its size, and reports clicks and zooms.
const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };

function plotly() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  return new Promise((done) => window.addEventListener("wb-plotly", () => done(window.Plotly), { once: true }));
}

async function render({ model, el }) {
  el.classList.add("wb-chart");
  el.style.width = "100%";
  const place = document.createElement("div");
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", model.get("label"));
  el.append(place);
  const Plotly = await plotly();
  let count = 0, isWired = false, isFollowing = false, isBehind = false;

  const draw = async () => {
    isBehind = !place.offsetWidth; // plotly cannot scale axes without room: drawn once there is some
    if (isBehind) return;
    const figure = JSON.parse(model.get("figure"));
    if (!figure.data) return;
    const layout = { ...figure.layout, autosize: true, width: undefined };
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
    place.style.minHeight = `${layout.height || 330}px`;
    await Plotly.react(place, figure.data, layout, CONFIG);
    place.dataset.drawn = String(Number(place.dataset.drawn || 0) + 1);
    if (isWired) return;
    isWired = true;
    place.on("plotly_click", (event) => {
      const point = event.points[0];
      model.set("clicked", { trace: point.data.name || "", x: point.x, y: point.y, customdata: point.customdata ?? null,
        is_again: ++count });
      model.save_changes();
    });
    place.on("plotly_relayout", (event) => {
      if (isFollowing) return;
      const named = (ending) => Object.keys(event).find((key) => new RegExp(`^xaxis\\d*\\.${ending}$`).test(key));
      const dragged = named("range\\[0\\]"), reset = named("range"), all = named("autorange");
      if (!dragged && !reset && !all) return;
      const range = dragged ? [event[dragged], event[dragged.replace("[0]", "[1]")]] : reset ? event[reset] : [];
      const zoomed = dragged ? range : []; // a double click takes it back
      model.set("zoomed", zoomed);
      model.save_changes();
      if (model.get("group")) window.dispatchEvent(new CustomEvent("wb-zoom", { detail: { from: place, group: model.get("group"), range, zoomed } }));
    });
  };
  const follow = ({ detail }) => {
    if (detail.group !== model.get("group") || detail.from === place) return;
    model.set("zoomed", detail.zoomed); // else taking it back here would not be heard
    model.save_changes();
    if (!isWired || isBehind || !place.offsetWidth) return;
    isFollowing = true;
    Plotly.relayout(place, detail.range.length ? { "xaxis.range": detail.range } : { "xaxis.autorange": true }).then(() => { isFollowing = false; });
  };
  window.addEventListener("wb-zoom", follow);
  model.on("change:figure", draw);
  await draw();
  const watcher = new ResizeObserver(() => {
    if (!place.offsetWidth) return;
    if (isBehind) draw();
    else if (isWired) Plotly.Plots.resize(place);
  });
  watcher.observe(el);
  return () => { window.removeEventListener("wb-zoom", follow); watcher.disconnect(); Plotly.purge(place); };
}
export default { render };
