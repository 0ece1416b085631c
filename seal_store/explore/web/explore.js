// Charts of the page, one after another, and how far a saturation is.
async function chart(element) {
  const caption = element.parentElement.querySelector("figcaption");
  try {
    let spec;
    if (element.dataset.source) {
      const answer = await fetch(element.dataset.source);
      spec = await answer.json();
      if (!answer.ok) throw new Error([spec.error, spec.hint].filter(Boolean).join(": "));
    } else {
      spec = JSON.parse(document.getElementById(`${element.id}-spec`).textContent);
    }
    const result = await draw(element, spec);
    caption.textContent = spec.description || "";
    if (element.dataset.leads) {
      result.view.addEventListener("click", (event, item) => {
        const offset = item && item.datum && item.datum.offset;
        if (typeof offset !== "number") return;
        const { leads, origin, direction } = element.dataset;
        location.assign(leads.replace("POSITION", Number(origin) + Number(direction) * offset));
      });
    }
  } catch (error) {
    element.textContent = "";
    caption.textContent = `This chart is not drawn: ${error.message}`;
    element.dataset.drawn = "no";
  }
}

async function watch(element) {
  const bar = element.querySelector("progress");
  const told = element.querySelector(".told");
  const live = element.querySelector("[aria-live]");
  let tenth = -1;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    let now;
    try {
      const answer = await fetch(element.dataset.status);
      now = await answer.json();
    } catch (error) {
      told.textContent = "The server does not answer any more.";
      live.textContent = told.textContent;
      return;
    }
    if (now.state !== "running" && now.state !== "waiting") return location.reload();
    bar.value = now.done;
    told.textContent = `${now.done.toLocaleString("en")} of ${now.total.toLocaleString("en")} SNVs`;
    const own = Math.floor((10 * now.done) / now.total);
    if (own !== tenth) live.textContent = `${own * 10} percent`; // not each step is read out
    tenth = own;
  }
}

(async () => {
  for (const element of document.querySelectorAll("[data-status]")) watch(element);
  // the page with its numbers is shown before the first chart is drawn
  if (!document.hidden) await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  for (const element of document.querySelectorAll(".chart")) await chart(element);
})();
