"use strict";
// Draws the figures that come into view, in the colours of the page's scheme. `page.show(state)` brings it up to date.
const page = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = { responsive: true, displayModeBar: false };
  let state = JSON.parse(document.getElementById("state").textContent);
  let figures = {};
  let printing = false;

  const collect = () => { figures = Object.assign({}, ...state.sections.map((section) => section.figures)); };

  // "role:best/0.3" → the colour of that role with that opacity
  const colour = (text) => {
    const [role, opacity] = text.slice(5).split("/");
    const palette = dark.matches && !printing ? state.dark : state.light;
    const hex = palette[role] || palette.ink;
    if (opacity === undefined) return hex;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${opacity})`;
  };

  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("role:") ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "object" && value[0] ? value.map(coloured) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, coloured(inner)]));
  };

  const draw = (plot) => {
    const figure = figures[plot.dataset.figure];
    if (!figure) return;
    const layout = coloured(figure.layout);
    layout.uirevision = "kept"; // what the reader has zoomed to
    layout.height = figure.height;
    if (touch) layout.dragmode = false; // a finger scrolls the page
    if (figure.least_width) { // many axes on a narrow screen scroll sideways, with room for the bar
      layout.width = Math.max(plot.clientWidth, figure.least_width);
      plot.style.overflow = "auto hidden";
      plot.style.height = `${figure.height + (layout.width > plot.clientWidth ? 16 : 0)}px`;
    }
    plot.drawn = JSON.stringify(figure);
    const data = coloured(figure.data);
    if ("low_is_good" in figure) { // good lines stand out: dark ones on white, bright ones on black
      data[0].line.reversescale = figure.low_is_good === (dark.matches && !printing);
    }
    return Plotly.react(plot, data, layout, options);
  };

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "400px" });

  const plots = () => [...document.querySelectorAll(".plot")];
  const redraw = (all) => plots().filter((plot) => all || plot.drawn).forEach(draw);
  const wait = () => plots().filter((plot) => !plot.drawn).forEach((plot) => watcher.observe(plot));

  // New text takes the place of the old; a figure keeps its element, and with it what the reader has zoomed to.
  const fill = (element, html) => {
    const old = new Map([...element.querySelectorAll(".plot")].map((plot) => [plot.dataset.figure, plot]));
    element.innerHTML = html;
    for (const fresh of element.querySelectorAll(".plot")) {
      const kept = old.get(fresh.dataset.figure);
      if (kept) { kept.style.height = fresh.style.height; fresh.replaceWith(kept); }
    }
  };

  const show = (next) => {
    const before = new Map(state.sections.map((section) => [section.key, section.html]));
    const main = document.querySelector("main");
    const at = scrollY;
    state = next;
    collect();
    const wanted = new Set(state.sections.map((section) => section.key));
    for (const element of [...main.children]) if (!wanted.has(element.id)) element.remove();
    state.sections.forEach((section, place) => {
      let element = document.getElementById(section.key);
      if (!element) {
        element = document.createElement("section");
        element.id = section.key;
      }
      if (main.children[place] !== element) main.insertBefore(element, main.children[place] || null);
      if (before.get(section.key) !== section.html) fill(element, section.html);
    });
    document.querySelector("nav").replaceChildren(...state.sections.filter((each) => each.title && each.key !== "answer").map((each) => {
      const link = document.createElement("a");
      [link.href, link.textContent] = ["#" + each.key, each.title];
      return link;
    }));
    for (const name of ["facts", "made", "last"]) document.getElementById(name).textContent = state[name];
    plots().filter((plot) => plot.drawn && plot.drawn !== JSON.stringify(figures[plot.dataset.figure])).forEach(draw);
    wait();
    if (Math.abs(scrollY - at) > 1) scrollTo({ top: at, behavior: "instant" });
  };

  const say = (text) => {
    const news = document.getElementById("news");
    news.textContent = text;
    news.hidden = !text;
  };

  collect();
  wait();
  dark.addEventListener("change", () => redraw(false));
  addEventListener("beforeprint", () => { printing = true; redraw(true); });
  addEventListener("afterprint", () => { printing = false; redraw(false); });
  return { show, say, last: () => state.last, made: () => state.made, redraw };
})();
