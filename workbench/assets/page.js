const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Figures are made for a light ground; what is not data follows the page.
function dressed(layout) {
  const axes = Object.keys(layout).concat(["xaxis", "yaxis"]).filter(key => /^[xy]axis\d*$/.test(key));
  const changes = {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, width: undefined,
                   font: {...layout.font, color: colour("--ink"), family: getComputedStyle(document.body).fontFamily}};
  for (const key of axes) {
    changes[key] = {...layout[key], gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line")};
  }
  return {...layout, ...changes};
}

function draw() {
  for (const place of document.querySelectorAll("figure.plot")) {
    const figure = JSON.parse(place.querySelector("script").textContent);
    let canvas = place.querySelector("div.canvas");
    if (!canvas) {
      canvas = document.createElement("div");
      canvas.className = "canvas";
      place.append(canvas);
    }
    Plotly.react(canvas, figure.data, dressed(figure.layout || {}),
                 {displayModeBar: false, responsive: true, ...figure.config, plotlyServerURL: ""});
  }
}

if (window.Plotly) { draw(); dark.addEventListener("change", draw); }

// Words stand to the left in tables, numbers to the right.
for (const table of document.querySelectorAll(".rich table")) {
  const rows = [...table.querySelectorAll("tbody tr")].map(row => [...row.children]);
  const isWords = cell => cell && cell.textContent.trim() !== "" && !/^[-+−~≤≥<>(]?\s*[\d.]/.test(cell.textContent.trim());
  (rows[0] || []).forEach((_, column) => {
    if (!rows.some(row => isWords(row[column]))) return;
    for (const row of [...table.rows]) row.children[column]?.classList.add("words");
  });
}

const methods = [...document.querySelectorAll("details.method")];
const button = document.getElementById("methods");
button.hidden = methods.length === 0;
button.addEventListener("click", () => {
  const open = !methods.every(method => method.open);
  methods.forEach(method => { method.open = open; });
  button.textContent = open ? "hide the methods" : "show the methods";
});
