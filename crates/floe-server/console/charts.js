// Line charts in SVG. Sizes are attributes, colours are classes: the page allows no style attributes.
import { h, svg, own, setText } from './dom.js';
import { clock } from './times.js';

const PAD = { left: 58, right: 10, top: 8, bottom: 20 };

function niceTop(max, base) {
  if (!(max > 0)) return base === 1024 ? 1024 : 1;
  const power = base === 1024 ? 2 ** Math.floor(Math.log2(max)) : 10 ** Math.floor(Math.log10(max));
  const steps = base === 1024 ? [1, 1.5, 2] : [1, 2, 3, 4, 5, 6, 8, 10];
  return power * steps.find((step) => max <= step * power * 1.000001);
}

/** "M x y L x y" with a new start after every unknown sample. */
function path(values, x, y) {
  let d = '';
  let pen = false;
  values.forEach((value, i) => {
    if (value === null) pen = false;
    else {
      d += `${pen ? 'L' : 'M'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = true;
    }
  });
  return d;
}

function area(values, x, y, floor) {
  let d = '';
  let start = -1;
  const close = (end) => { if (start >= 0) d += `L${x(end).toFixed(1)} ${floor}L${x(start).toFixed(1)} ${floor}Z`; start = -1; };
  values.forEach((value, i) => {
    if (value === null) close(i - 1);
    else {
      d += `${start < 0 ? 'M' : 'L'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      if (start < 0) start = i;
    }
  });
  close(values.length - 1);
  return d;
}

/** A chart that draws itself at its own width. update({values, end, step}) moves it on. */
export function lineChart({ title, unit, format, base = 1000, height = 150 }) {
  const now = h('span', { class: 'chart-now num' }, '\u00a0');
  const plot = svg('svg', { class: 'chart', height, role: 'img', focusable: 'false' });
  const el = own(h('figure', { class: 'panel chart-box' },
    h('figcaption', null, h('span', { class: 'chart-title' }, title), now), plot));
  const parts = skeleton(plot);
  const chart = { title, unit, format, base, height, now, plot, parts, width: 0, data: null, hover: -1 };
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0 && width !== chart.width) {
      chart.width = width;
      draw(chart);
    }
  }).observe(plot);
  plot.addEventListener('pointermove', (event) => point(chart, event));
  plot.addEventListener('pointerleave', () => { chart.hover = -1; mark(chart); });
  return { el, update: (data) => { chart.data = data; draw(chart); } };
}

function skeleton(plot) {
  const grid = [0, 1, 2].map(() => ({ line: svg('line', { class: 'grid' }), label: svg('text', { class: 'tick', 'text-anchor': 'end' }) }));
  const fill = svg('path', { class: 'area' });
  const line = svg('path', { class: 'line' });
  const cursor = svg('line', { class: 'cursor' });
  const dot = svg('circle', { class: 'dot', r: 3 });
  const from = svg('text', { class: 'tick' });
  const to = svg('text', { class: 'tick', 'text-anchor': 'end' });
  const note = svg('text', { class: 'tick', 'text-anchor': 'middle' });
  plot.append(...grid.flatMap((g) => [g.line, g.label]), fill, line, cursor, dot, from, to, note);
  return { grid, fill, line, cursor, dot, from, to, note };
}

const put = (node, attributes) => { for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value); };

function draw(chart) {
  const { plot, parts, width, height, data } = chart;
  if (!width) return;
  put(plot, { viewBox: `0 0 ${width} ${height}` });
  const values = data?.values ?? [];
  const known = values.filter((v) => v !== null);
  const top = niceTop(Math.max(0, ...known), chart.base);
  const floor = height - PAD.bottom;
  const y = (v) => floor - (v / top) * (floor - PAD.top);
  // Fewer samples than a full window stand at the right, so that the line moves in and does not stretch.
  const slots = Math.max(data?.slots ?? values.length, values.length, 2);
  const x = (i) => PAD.left + ((i + slots - values.length) / (slots - 1)) * (width - PAD.left - PAD.right);
  Object.assign(chart, { x, y });
  parts.grid.forEach((g, i) => {
    const value = (top * i) / 2;
    put(g.line, { x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) });
    put(g.label, { x: PAD.left - 8, y: y(value) + 4 });
    setText(g.label, chart.format(value).replace(/\.0(?=\D|$)/, ''));
  });
  put(parts.fill, { d: area(values, x, y, floor) });
  put(parts.line, { d: path(values, x, y) });
  put(parts.from, { x: PAD.left, y: height - 4 });
  put(parts.to, { x: width - PAD.right, y: height - 4 });
  put(parts.note, { x: (width + PAD.left) / 2, y: height / 2 });
  const span = data ? Math.round(((slots - 1) * data.step) / 60) : 0;
  setText(parts.from, data ? `${span} min ago` : '');
  setText(parts.to, data ? 'now' : '');
  setText(parts.note, data && known.length === 0 ? (data.empty ?? 'no samples yet') : '');
  mark(chart);
}

function mark(chart) {
  const { parts, data, hover, height } = chart;
  const values = data?.values ?? [];
  const at = hover >= 0 && hover < values.length ? hover : values.length - 1;
  const value = values[at] ?? null;
  const shown = hover >= 0 && value !== null;
  put(parts.cursor, { visibility: shown ? 'visible' : 'hidden' });
  put(parts.dot, { visibility: value !== null ? 'visible' : 'hidden' });
  if (value !== null) {
    put(parts.cursor, { x1: chart.x(at), x2: chart.x(at), y1: PAD.top, y2: height - PAD.bottom });
    put(parts.dot, { cx: chart.x(at), cy: chart.y(value) });
  }
  const text = value === null ? 'unknown' : `${chart.format(value)}${chart.unit}`;
  setText(chart.now, shown ? `${text} at ${clock(data.end - (values.length - 1 - at) * data.step * 1000)}` : text);
  const known = values.filter((v) => v !== null);
  chart.plot.setAttribute('aria-label', known.length
    ? `${chart.title}: now ${text}, highest ${chart.format(Math.max(...known))}${chart.unit}` : `${chart.title}: no samples`);
}

function point(chart, event) {
  const values = chart.data?.values ?? [];
  if (values.length === 0 || !chart.x) return;
  const box = chart.plot.getBoundingClientRect();
  const at = event.clientX - box.left;
  const first = chart.x(0);
  const step = values.length > 1 ? chart.x(1) - first : 1;
  chart.hover = Math.max(0, Math.min(values.length - 1, Math.round((at - first) / step)));
  mark(chart);
}

/** A small line for a table cell. */
export function sparkline(values, label, width = 120, height = 20) {
  const known = (values ?? []).filter((v) => v !== null);
  const max = Math.max(1, ...known);
  const x = (i) => 1 + (i / Math.max(1, values.length - 1)) * (width - 2);
  const y = (v) => height - 2 - (v / max) * (height - 4);
  return svg('svg', { class: 'spark', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    known.length ? svg('path', { class: 'line', d: path(values, x, y) }) : null);
}
