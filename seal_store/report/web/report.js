"use strict";
// The table, its filters and the variant that is open. All of it is told by the address behind #,
// so that it can be kept, and the browser's back and forward work. Whatever comes from a file is
// shown as text (`textContent`), never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, contexts, levels, calibrated } = data;
  const PER_PAGE = 100;
  const find = (id) => document.getElementById(id);
  const fixed = (number) => (number === null ? "nan" : signed(number, 4));
  const count = (number) => number.toLocaleString("en");

  function signed(number, digits) {
    const text = Math.abs(number).toPrecision(digits);
    return (number < 0 ? "-" : "+") + String(Number(text));
  }

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // What a row is called.
  const gene = (row) => (row.symbol && row.symbol !== row.gene ? `${row.symbol} (${row.gene})` : row.gene);
  const variant = (row) => `${row.contig}:${row.pos} ${row.ref}>${row.alt}`;
  const contextName = (place) => contexts[place].join(":");
  const far = (row) => `${row.distance < 0 ? "-" : "+"}${count(Math.abs(row.distance))}`;
  const note = (row) =>
    [row.status === "scored" ? "" : row.status, row.match ? "" : "REF is not the genome's"]
      .filter(Boolean).join(", ");

  // Effects on every context: exact for a row's strongest, else from the map.
  const maps = new Map();
  function effects(row) {
    let found = maps.get(row);
    if (!found) {
      const bytes = Uint8Array.from(atob(row.map), (letter) => letter.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      found = Float64Array.from(contexts, (_, i) => (view.getInt16(2 * i, true) * row.peak) / levels);
      for (const [place, effect] of row.top) if (effect !== null) found[place] = effect;
      maps.set(row, found);
    }
    return found;
  }

  // The state, as the address has it.
  const DEFAULT = { text: "", context: "", effect: "", quantile: "", sort: "effect", down: "1", page: "1", row: "" };
  function state() {
    const given = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
    return Object.fromEntries(Object.entries(DEFAULT).map(([name, value]) => [name, given.get(name) ?? value]));
  }
  function go(change, replace = false) {
    const next = { ...state(), ...change };
    const told = Object.entries(next).filter(([name, value]) => value !== DEFAULT[name]);
    const where = "#?" + new URLSearchParams(told);
    history[replace ? "replaceState" : "pushState"](null, "", where);
    show();
  }

  const columns = [
    { name: "variant", key: (row) => [row.contig, row.pos, row.alt] },
    { name: "id", key: (row) => row.id },
    { name: "gene", key: gene },
    { name: "distance", title: "TSS distance", number: true, key: (row) => row.distance },
    { name: "kind", key: (row) => row.kind },
    { name: "context", key: (row, own) => contextName(own.place(row)) },
    { name: "effect", number: true, size: true, key: (row, own) => own.effect(row) },
    ...(calibrated ? [{ name: "quantile", title: "|quantile|", number: true, key: (row) => row.rarest ?? -1 }] : []),
    { name: "note", key: note },
  ];

  // The effect that the table shows of a row.
  function shownBy(wanted) {
    const place = /^\d+$/.test(wanted) && contexts[wanted] ? Number(wanted) : null;
    return {
      place: (row) => (place === null ? row.top[0][0] : place),
      effect: (row) => (place === null ? row.top[0][1] : effects(row)[place]),
    };
  }

  function order(a, b) {
    if (Array.isArray(a)) {
      for (let i = 0; i < a.length; i++) if (order(a[i], b[i])) return order(a[i], b[i]);
      return 0;
    }
    return typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
  }

  function chosen(now) {
    const own = shownBy(now.context);
    const text = now.text.trim().toLowerCase();
    const least = Number(now.effect) || 0, rare = Number(now.quantile) || 0;
    const kept = rows.filter(
      (row) =>
        (!text || `${gene(row)} ${variant(row)} ${row.id}`.toLowerCase().includes(text)) &&
        Math.abs(own.effect(row)) >= least && (!rare || (row.rarest ?? 0) >= rare),
    );
    const by = columns.find((column) => column.name === now.sort) || columns.find((c) => c.name === "effect");
    const keys = new Map(kept.map((row) => [row, by.size ? Math.abs(by.key(row, own)) : by.key(row, own)]));
    const turn = now.down ? -1 : 1;
    kept.sort((a, b) => turn * order(keys.get(a), keys.get(b)));
    return { kept, own };
  }

  function heading(now) {
    return columns.map((column) => {
      const cell = element("th", undefined, { scope: "col", ...(column.number && { class: "number" }) });
      const sorted = now.sort === column.name;
      if (sorted) cell.setAttribute("aria-sort", now.down ? "descending" : "ascending");
      const mark = sorted ? (now.down ? " ▼" : " ▲") : "";
      const button = element("button", (column.title || column.name) + mark, { type: "button" });
      const down = sorted ? (now.down ? "" : "1") : column.number ? "1" : "";
      button.addEventListener("click", () => {
        go({ sort: column.name, down, page: "1" });
        find("table").querySelectorAll("th button")[columns.indexOf(column)].focus();
      });
      cell.append(button);
      return cell;
    });
  }

  function line(row, own, now) {
    const index = String(rows.indexOf(row));
    const made = element("tr", undefined, now.row === index ? { "aria-current": "true" } : {});
    const open = element("button", undefined, { type: "button" });
    open.append(element("bdi", variant(row)));
    open.addEventListener("click", () => go({ row: index }));
    const first = element("td");
    first.append(open);
    made.append(first);
    const texts = [row.id, gene(row), far(row), row.kind, contextName(own.place(row)), fixed(own.effect(row)),
      ...(calibrated ? [row.rarest === null ? "nan" : row.rarest.toPrecision(4)] : []), note(row)];
    texts.forEach((text, i) => {
      const cell = element("td", undefined, columns[i + 1].number ? { class: "number" } : {});
      cell.append(element("bdi", text));
      made.append(cell);
    });
    return made;
  }

  let seen = "";
  function show() {
    const now = state();
    const { kept, own } = chosen(now);
    const pages = Math.max(1, Math.ceil(kept.length / PER_PAGE));
    const page = Math.min(Math.max(1, Number(now.page) || 1), pages);
    const first = (page - 1) * PER_PAGE;
    const part = kept.slice(first, first + PER_PAGE);
    const form = find("filters");
    for (const field of form.elements) if (field.name && field.value !== now[field.name]) field.value = now[field.name];
    find("table").tHead.rows[0].replaceChildren(...heading(now));
    find("table").tBodies[0].replaceChildren(...part.map((row) => line(row, own, now)));
    find("said").textContent = kept.length
      ? `Rows ${count(first + 1)} to ${count(first + part.length)} of ${count(kept.length)}` : "No row fits.";
    find("page").textContent = `Page ${count(page)} of ${count(pages)}`;
    find("previous").disabled = page === 1;
    find("next").disabled = page === pages;
    find("previous").onclick = () => go({ page: String(page - 1) });
    find("next").onclick = () => go({ page: String(page + 1) });
    if (now.row !== seen) openRow(rows[now.row]);
    seen = now.row;
  }

  // One variant.
  async function openRow(row) {
    find("detail").hidden = !row;
    if (!row) return;
    find("variant").replaceChildren(element("bdi", variant(row)), `, ${gene(row)}, ${far(row)} bp from its TSS`);
    find("links").replaceChildren(
      ...row.links.map(([name, href]) => element("a", name, { href, rel: "noreferrer noopener", target: "_blank" })),
    );
    find("notes").replaceChildren(...(note(row) ? [element("p", note(row), { class: "warning" })] : []));
    find("place").replaceChildren(place(row));
    const names = ["context", "effect", ...(calibrated ? ["quantile", "z"] : [])];
    const right = (i) => (i ? { class: "number" } : {});
    find("contexts").tHead.rows[0].replaceChildren(
      ...names.map((name, i) => element("th", name, { scope: "col", ...right(i) })),
    );
    find("contexts").tBodies[0].replaceChildren(
      ...row.top.map(([own, ...numbers]) => {
        const made = element("tr");
        made.append(element("td", contextName(own)), ...numbers.map((n) => element("td", n === null ? "nan" : String(n), right(1))));
        return made;
      }),
    );
    find("variant").focus({ preventScroll: true });
    find("detail").scrollIntoView();
    find("attributed").hidden = !row.attribution;
    await draw(find("map"), effectMap(row));
    if (row.attribution) await draw(find("attribution"), attribution(row));
  }

  const copy = (spec) => structuredClone(spec);

  function effectMap(row) {
    const spec = copy(data.specs.map), all = effects(row);
    const most = row.peak || 1e-9;
    const recolour = (node) => {
      if (node === null || typeof node !== "object") return;
      if (Array.isArray(node.domain) && node.domain.length === 3) node.domain = [-most, 0, most];
      Object.values(node).forEach(recolour);
    };
    recolour(spec);
    spec.datasets = { ...spec.datasets };
    data.panels.forEach(({ cells, bars }, i) => {
      const strongest = [...bars].sort((a, b) => Math.abs(all[b]) - Math.abs(all[a])).slice(0, data.most_bars);
      spec.datasets[`panel${i}`] = cells.length
        ? cells.map(([y, x, own]) => ({
            y, x, contexts: own.length,
            effect: own.length ? own.reduce((sum, place) => sum + all[place], 0) / own.length : null,
            names: own.slice(0, 3).map((place) => contexts[place][1]).join(", ") + (own.length > 3 ? ", …" : ""),
          }))
        : strongest.map((place) => ({ y: contexts[place][1], effect: all[place] }));
    });
    const best = row.top.slice(0, 3).map(([place, effect]) => `${contexts[place][1]} ${fixed(effect)}`);
    spec.title = { text: "Effects on all contexts", subtitle: "×: the model has no such context", anchor: "start" };
    spec.description = `Effects on ${contexts.length} contexts. Strongest: ${best.join(", ")}.`;
    return spec;
  }

  function attribution(row) {
    const { context, completeness, features } = row.attribution;
    const spec = copy(data.specs.attribution);
    const table = features.map(([feature, value]) => ({ value, ...data.features[feature] }));
    spec.datasets = { features: table };
    find("attributed-of").textContent =
      `Of the effect of ${fixed(effects(row)[context])} on ${contextName(context)}: the ${table.length} strongest features.` +
      (completeness === null ? "" : ` Sum of all attributions minus effect: ${signed(completeness, 2)}.`);
    spec.description = `Attributions. Strongest: ${table.slice(0, 3).map((t) => `${t.label} ${signed(t.value, 2)}`).join(", ")}.`;
    return spec;
  }

  function place(row) {
    const svg = (tag, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    // POS - TSS to the right, as the contig runs; an arrow from the TSS in the gene's direction.
    const span = Math.max(20_000, 1.05 * Math.abs(row.distance));
    const x = (distance) => 350 + (330 * distance) / span;
    const turn = row.strand === "-" ? -1 : 1;
    const away = row.distance < 0 ? 1 : -1; // its label stands on the side where the variant is not
    const said = `${row.contig}:${count(row.pos)} is ${far(row)} bp from the TSS of ${gene(row)}, which is on the ${row.strand} strand.`;
    const made = svg("svg", { viewBox: "0 0 700 92", role: "img", "aria-label": said });
    made.append(
      svg("line", { x1: x(-span), x2: x(span), y1: 56, y2: 56 }),
      svg("path", { d: `M350 56 V32 H${350 + turn * 34} m${turn * -7} -5 l${turn * 7} 5 l${turn * -7} 5` }),
      svg("text", { x: 350 + away * (away === turn ? 40 : 6), y: 36, "text-anchor": away > 0 ? "start" : "end" }, "TSS"),
      svg("circle", { cx: x(row.distance), cy: 56, r: 6 }),
      svg("text", { x: Math.min(Math.max(x(row.distance), 90), 610), y: 16, "text-anchor": "middle" },
        `${row.contig}:${count(row.pos)}`),
      svg("line", { x1: x(row.distance), x2: x(row.distance), y1: 21, y2: 50, "stroke-dasharray": "3 2" }),
    );
    for (const at of [-1, -0.5, 0, 0.5, 1]) {
      const distance = Math.round((at * span) / 1000);
      made.append(
        svg("line", { x1: x(at * span), x2: x(at * span), y1: 56, y2: 62 }),
        svg("text", { x: x(at * span), y: 78, "text-anchor": at === -1 ? "start" : at === 1 ? "end" : "middle" },
          at ? `${distance > 0 ? "+" : "-"}${Math.abs(distance)} kb` : "0"),
      );
    }
    return made;
  }

  function overview() {
    const spec = copy(data.specs.locus);
    const points = rows.map((row) => ({
      x: row.distance, effect: row.top[0][1], variant: variant(row), gene: gene(row), kind: row.kind,
      context: contextName(row.top[0][0]), ...(calibrated && { quantile: row.top[0][2] }),
    }));
    spec.datasets = { ...spec.datasets, points };
    spec.description = `Effects of ${rows.length} rows against the distance to the TSS.`;
    return spec;
  }

  const select = find("filters").elements.context;
  const groups = new Map();
  for (const place of data.chosen) {
    const [set, name] = contexts[place];
    if (!groups.has(set)) groups.set(set, element("optgroup", undefined, { label: set }));
    groups.get(set).append(element("option", name, { value: place }));
  }
  select.append(...groups.values());
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", (event) => {
    go({ [event.target.name]: event.target.value, page: "1" }, event.target !== select);
  });
  find("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    go({ text: "", context: "", effect: "", quantile: "", page: "1" });
  });
  addEventListener("popstate", show);
  show();
  if (rows.length) draw(find("locus"), overview());
})();
