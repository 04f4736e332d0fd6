// Times: relative or absolute, as the user chose; the other form is in the title.
import { h } from './dom.js';
import { duration, NONE } from './format.js';
import { stored, store, serverNow } from './state.js';

let absolute = stored('times') === 'absolute';

const pad = (n, width = 2) => String(n).padStart(width, '0');

export function stamp(ms) {
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return String(ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
}

export const clock = (ms) => stamp(ms).slice(11, 19);

export function relative(ms) {
  const ago = (serverNow() - ms) / 1000;
  if (Math.abs(ago) < 1) return 'now';
  return ago > 0 ? `${duration(ago)} ago` : `in ${duration(-ago)}`;
}

const label = (ms) => (absolute ? stamp(ms) : relative(ms));
const other = (ms) => {
  const d = new Date(ms);
  const iso = Number.isNaN(d.getTime()) ? String(ms) : d.toISOString();
  return absolute ? `${relative(ms)} (${iso})` : `${stamp(ms)} (${iso})`;
};

export function time(ms) {
  if (ms === null || ms === undefined) return h('span', { class: 'muted', title: 'unknown' }, NONE);
  return h('time', { 'data-ms': ms, title: other(ms) }, label(ms));
}

export function refreshTimes(root = document) {
  for (const node of root.querySelectorAll('time[data-ms]')) {
    const ms = Number(node.getAttribute('data-ms'));
    const text = label(ms);
    if (node.textContent !== text) {
      node.textContent = text;
      node.title = other(ms);
    }
  }
}

export const timesAreAbsolute = () => absolute;

export function toggleTimes() {
  absolute = !absolute;
  store('times', absolute ? 'absolute' : 'relative');
  refreshTimes();
}
