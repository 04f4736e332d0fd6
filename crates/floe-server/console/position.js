// The start position of a read or of a reset: a kind, and the value that some kinds need.
import { h, fill } from './dom.js';
import { options, uid } from './ui.js';

const AGES = [['-5m', '5 minutes ago'], ['-15m', '15 minutes ago'], ['-1h', '1 hour ago'], ['-6h', '6 hours ago'], ['-24h', '24 hours ago'], ['-7d', '7 days ago']];
const KINDS = { newest: 'Newest records', beginning: 'Beginning', end: 'End', offset: 'Offset', time: 'Time', ago: 'Time ago' };

export function parsePosition(text) {
  if (text === 'beginning' || text === 'earliest') return { kind: 'beginning' };
  if (text === 'end' || text === 'latest') return { kind: 'end' };
  if (/^-\d+$/.test(text)) return { kind: 'newest', value: text.slice(1) };
  if (/^\+?\d+$/.test(text)) return { kind: 'offset', value: text };
  if (/^@-\d/.test(text)) return { kind: 'ago', value: text.slice(1) };
  if (text.startsWith('@')) return { kind: 'time', value: text.slice(1) };
  return null;
}

const pad = (n) => String(n).padStart(2, '0');

function localTime(text) {
  const ms = /^\d+$/.test(text) ? Number(text) * (text.length > 11 ? 1 : 1000) : Date.parse(text);
  const d = new Date(Number.isNaN(ms) ? Date.now() : ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

function extra(kind, value, label) {
  switch (kind) {
    case 'newest':
      return h('input', { type: 'number', min: 1, max: 100000, value: value ?? '100', 'aria-label': `${label}: number of newest records`, class: 'short' });
    case 'offset':
      return h('input', { type: 'text', inputmode: 'numeric', pattern: '\\+?[0-9]{1,19}', required: true, value: value ?? '0', 'aria-label': `${label}: offset`, title: 'an offset, or +N for N records after the beginning', class: 'short' });
    case 'time':
      return h('input', { type: 'datetime-local', step: 1, required: true, value: localTime(value ?? ''), 'aria-label': `${label}: time` });
    case 'ago': {
      const known = AGES.some(([age]) => age === value) || !value ? AGES : [...AGES, [value, `${value.slice(1)} ago`]];
      return h('select', { 'aria-label': `${label}: age` }, options(known, value ?? '-1h'));
    }
    default: return null;
  }
}

/** {el, value(), set(text)}; `value()` is a POSITION of the API. */
export function positionPicker({ label, kinds, value, testid, onChange }) {
  const id = uid('position');
  const select = h('select', { id, testid }, options(kinds.map((kind) => [kind, KINDS[kind]])));
  const slot = h('span', { class: 'slot' });
  let input = null;
  const build = (kind, text) => {
    input = extra(kind, text, label);
    if (input && testid) input.setAttribute('data-testid', `${testid}-value`);
    if (input) input.onchange = () => onChange?.();
    fill(slot, input);
  };
  select.onchange = () => {
    build(select.value);
    onChange?.();
  };
  const set = (text) => {
    const at = parsePosition(text ?? '');
    const kind = at && kinds.includes(at.kind) ? at.kind : kinds[0];
    select.value = kind;
    build(kind, at?.kind === kind ? at.value : undefined);
  };
  set(value);
  const read = () => {
    switch (select.value) {
      case 'newest': return `-${Math.max(1, parseInt(input.value, 10) || 100)}`;
      case 'offset': return input.value.trim() || '0';
      case 'time': return `@${new Date(input.value || Date.now()).toISOString()}`;
      case 'ago': return `@${input.value}`;
      default: return select.value;
    }
  };
  const el = h('div', { class: 'field' }, h('label', { for: id }, label), h('div', { class: 'joined' }, select, slot));
  return { el, value: read, kind: () => select.value, set };
}
