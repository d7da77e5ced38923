// Draws <canvas data-chart="…">, what `api_service.admin.dashboard.charts` says, with the Chart.js that unfold ships.
//
// The table below each canvas says the same: what is here is for those who see it.
(() => {
  "use strict";
  // As the server writes numbers: Spanish is that of Peru
  const language = document.documentElement.lang;
  const locale = language === "es" ? "es-PE" : language;
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const SIZES = ["B", "KB", "MB", "GB", "TB"];
  const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
  const drawn = new Map();

  const bytes = (value) => {
    const power = value >= 1 ? Math.min(Math.floor(Math.log2(value) / 10), SIZES.length - 1) : 0;
    return `${number.format(value / 1024 ** power)} ${SIZES[power]}`;
  };

  const writer = (data) => (value) => (data.bytes ? bytes(value) : number.format(value) + data.unit);

  const colour = (canvas, name) => getComputedStyle(canvas).getPropertyValue(`--cw-${name}`).trim();

  // A value between two gaps has no line to be seen by
  const isAlone = ({ dataset, dataIndex }) => {
    const has = (index) => dataset.data[index] !== null && dataset.data[index] !== undefined;
    return has(dataIndex) && !has(dataIndex - 1) && !has(dataIndex + 1);
  };

  const dataset = (canvas, data) => (one, index) => {
    const paint = colour(canvas, `chart-${one.colour}`);
    return {
      label: one.name,
      data: one.values,
      borderColor: paint,
      backgroundColor: paint,
      borderWidth: data.shape === "line" ? 2 : 0,
      borderDash: DASHES[index % DASHES.length],
      pointRadius: (context) => (isAlone(context) ? 3 : 0),
      pointHitRadius: 8,
      spanGaps: false,
      categoryPercentage: 0.9,
      barPercentage: 1,
      maxBarThickness: 40,
    };
  };

  const options = (canvas, data) => {
    const text = colour(canvas, "chart-text");
    const write = writer(data);
    const stacked = data.shape === "stack";
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      locale,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: {
          display: data.series.length > 1,
          position: "bottom",
          labels: { color: text, boxWidth: 10, boxHeight: 10 },
        },
        tooltip: {
          callbacks: {
            title: (items) => data.heads[items[0].dataIndex],
            label: (item) => `${item.dataset.label}: ${write(item.parsed.y)}`,
          },
        },
      },
      scales: {
        x: {
          stacked,
          grid: { display: false },
          border: { color: colour(canvas, "chart-grid") },
          // Of times some are enough, of names none is left out
          ticks: { color: text, maxRotation: data.named ? 60 : 0, autoSkip: !data.named, autoSkipPadding: 12 },
        },
        y: {
          stacked,
          beginAtZero: true,
          suggestedMax: data.most ?? undefined,
          grid: { color: colour(canvas, "chart-grid") },
          border: { display: false },
          ticks: { color: text, maxTicksLimit: 6, callback: write },
        },
      },
    };
  };

  const draw = (canvas) => {
    const data = JSON.parse(canvas.dataset.chart);
    drawn.get(canvas)?.destroy();
    const chart = new Chart(canvas, {
      type: data.shape === "line" ? "line" : "bar",
      data: { labels: data.labels, datasets: data.series.map(dataset(canvas, data)) },
      options: options(canvas, data),
    });
    drawn.set(canvas, chart);
  };

  const drawAll = (root) => {
    for (const [canvas, chart] of drawn) {
      if (!canvas.isConnected) {
        chart.destroy();
        drawn.delete(canvas);
      }
    }
    root.querySelectorAll("canvas[data-chart]").forEach(draw);
  };

  document.addEventListener("htmx:afterSwap", (event) => drawAll(event.detail.elt));
  document.addEventListener("DOMContentLoaded", () => {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    drawAll(document);
    // The colours of a canvas do not follow the theme by themselves
    new MutationObserver(() => drawAll(document)).observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["class", "data-theme"],
    });
  });
})();
