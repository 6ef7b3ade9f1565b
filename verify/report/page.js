"use strict";
// Draws the figures from the JSON beside them. Colours of text and lines are the style sheet's.
const places = [...document.querySelectorAll(".plot")];
for (const place of places) {
  const figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
  // A finger that scrolls the page must not zoom.
  const finger = matchMedia("(pointer: coarse)").matches;
  if (finger) figure.layout.dragmode = false;
  Plotly.newPlot(place, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: finger ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
}
// Paper has a width of its own.
addEventListener("beforeprint", () => {
  for (const place of places) Plotly.relayout(place, { width: 680 });
});
addEventListener("afterprint", () => {
  for (const place of places) Plotly.relayout(place, { width: null, autosize: true });
});
