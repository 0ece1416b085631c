"use strict";
// Draws a Vega-Lite spec into an element, as SVG and without `eval`; its description is what a
// screen reader is told. Resolves when it is drawn.
async function draw(element, spec) {
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", spec.description || "");
  element.tabIndex = 0; // it scrolls sideways where the screen is narrow
  const actions = { export: true, source: false, compiled: false, editor: false };
  const result = await vegaEmbed(element, spec, { ast: true, renderer: "svg", actions });
  element.dataset.drawn = "yes";
  return result;
}
