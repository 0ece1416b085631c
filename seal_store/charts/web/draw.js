"use strict";
// Draws a Vega-Lite spec into an element, as SVG and without `eval`; its description is what a
// screen reader is told. Resolves when it is drawn.
async function draw(element, spec) {
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", spec.description || "");
  element.tabIndex = 0; // it scrolls sideways where the screen is narrow
  const actions = { export: true, source: false, compiled: false, editor: false };
  delete element.dataset.drawn;
  const inner = document.createElement("div");
  element.replaceChildren(inner);
  const result = await vegaEmbed(inner, spec, { ast: true, renderer: "svg", actions });
  for (const menu of element.querySelectorAll("summary")) menu.setAttribute("aria-label", "Save the chart");
  element.dataset.drawn = "yes";
  return result;
}
