// Runs plotly.js once a page; charts wait for it.
function render({ model }) {
  if (window.Plotly || window.wbPlotlyAsked) return;
  window.wbPlotlyAsked = true;
  const script = document.createElement("script");
  // require.js, where a page has it, would take plotly.js for a module of its own.
  script.textContent = "(function(define, module, exports){" + model.get("source") + "\n}).call(window);";
  document.head.append(script);
  window.dispatchEvent(new Event("wb-plotly"));
}
export default { render };
