// What the page does beyond links and forms: it draws the curve, tells times in the reader's zone, and says when its
// server is silent. Without it everything is there as text.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let range = "recent";
  let plot = null;

  function drawCurve() {
    const box = document.getElementById("curve");
    if (!box || typeof uPlot === "undefined") return;
    const curve = JSON.parse(box.dataset.curve)[range];
    const data = [curve.at, curve.done, curve.error];
    if (plot && plot.root.isConnected && plot.lookedAt === range && plot.width === box.clientWidth) {
      plot.setData(data);
      return;
    }
    if (plot) plot.destroy();
    box.replaceChildren();
    plot = new uPlot(options(box), data, box);
    plot.lookedAt = range;
  }

  function options(box) {
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const shown = (value) => (value === null || value === undefined ? "–" : value >= 100 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2));
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    const follow = (chart) => {
      const place = chart.cursor.idx;
      tip.hidden = place === null || place === undefined;
      if (tip.hidden) return;
      const at = new Date(chart.data[0][place] * 1000).toLocaleTimeString();
      tip.textContent = `${at}  done ${shown(chart.data[1][place])}/s, failed ${shown(chart.data[2][place])}/s`;
    };
    return {
      width: box.clientWidth, height: box.clientHeight,
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, size: 26, values: (_, ticks) => times(ticks) }, { ...axis, size: 44, values: (_, ticks) => ticks.map((tick) => `${+tick.toPrecision(3)}`) }],
      series: [
        {},
        { stroke: css("--done"), width: 2, fill: css("--done") + "22", points: { show: false } },
        { stroke: css("--error"), width: 2, dash: [6, 4], points: { show: false } },
      ],
      cursor: { drag: { setScale: false, x: false, y: false }, points: { size: 6 } },
      legend: { show: false },
      hooks: { setCursor: [follow], ready: [(chart) => { tip.hidden = true; chart.over.append(tip); }] },
    };
  }

  function times(ticks) {
    const long = ticks.length > 1 && ticks[ticks.length - 1] - ticks[0] > 86400;
    const short = ticks.length > 1 && ticks[1] - ticks[0] < 60;
    const form = short ? { hour: "2-digit", minute: "2-digit", second: "2-digit" } : long ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" };
    return ticks.map((tick) => new Date(tick * 1000).toLocaleString([], form));
  }

  function tellTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(Number(time.getAttribute("datetime")) * 1000);
      if (Number.isNaN(at.getTime())) continue;
      const isToday = at.toDateString() === new Date().toDateString();
      time.textContent = isToday ? at.toLocaleTimeString() : at.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
      time.title = at.toISOString();
    }
  }

  // What is being written stays in sight for whoever has the end of it in sight.
  const isAtEnd = (log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  let known = new Set();
  let atEnd = new Set();
  function noteEnds() {
    const logs = [...document.querySelectorAll("[data-follow]")];
    known = new Set(logs.map((log) => log.id));
    atEnd = new Set(logs.filter(isAtEnd).map((log) => log.id));
  }
  function follow() {
    for (const log of document.querySelectorAll("[data-follow]")) {
      if (!known.has(log.id) || atEnd.has(log.id)) log.scrollTop = log.scrollHeight;
    }
  }

  let silentSince = null;
  function heard(isHeard) {
    const banner = document.getElementById("cut-off");
    silentSince = isHeard ? null : silentSince || new Date();
    banner.hidden = isHeard;
    if (!isHeard) banner.querySelector("time").textContent = silentSince.toLocaleTimeString();
  }

  function renew() {
    tellTimes(document);
    drawCurve();
  }

  document.addEventListener("DOMContentLoaded", renew);
  document.addEventListener("DOMContentLoaded", follow);
  document.addEventListener("htmx:before:swap", noteEnds);
  document.addEventListener("htmx:after:swap", renew);
  document.addEventListener("htmx:after:swap", follow);
  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden && event.detail.ctx.sourceElement.matches('[hx-trigger^="every"]')) event.preventDefault();
  });
  document.addEventListener("htmx:before:response", (event) => heard(event.detail.ctx.response.status < 500));
  document.addEventListener("htmx:error", () => heard(false));
  document.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-range]");
    if (!choice) return;
    range = choice.dataset.range;
    press();
    drawCurve();
  });
  function press() {
    for (const one of document.querySelectorAll("[data-range]")) one.setAttribute("aria-pressed", String(one.dataset.range === range));
  }
  document.addEventListener("htmx:after:swap", press);
  document.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.querySelector("[data-slash]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    }
  });
  document.addEventListener("keydown", (event) => {
    // Else the form's first button would be pressed, which does something else.
    const button = event.key === "Enter" && event.target.name === "priority" && event.target.form && event.target.form.querySelector('button[value="priority"]');
    if (button) { event.preventDefault(); button.click(); }
  });
  addEventListener("resize", () => { if (plot) drawCurve(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plot) { plot.destroy(); plot = null; drawCurve(); } });
})();
