// Numbers, sizes, durations and text for people.
import { h } from './dom.js';

export const NONE = '\u2013';
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

function scaled(n, step, units) {
  let i = 0;
  let value = Math.abs(n);
  // 999.95 would print as "1000.0".
  while (value >= step - step / 20000 && i < units.length - 1) {
    value /= step;
    i += 1;
  }
  const digits = i === 0 ? (value < 10 && value % 1 !== 0 ? (value < 0.1 ? 2 : 1) : 0) : value < 100 ? 1 : 0;
  return `${n < 0 ? '-' : ''}${value.toFixed(digits)}${units[i] ? `\u00a0${units[i]}` : ''}`;
}

/** A count: exact below 10,000, else short. */
export function num(n) {
  if (n === null || n === undefined) return NONE;
  const value = Number(n);
  return Math.abs(value) < 10000 ? (value % 1 ? scaled(value, 1000, ['', 'k']) : grouped.format(value))
    : scaled(value, 1000, ['', 'k', 'M', 'G', 'T', 'P', 'E']);
}

export const exact = (n) => (n === null || n === undefined ? 'unknown' : grouped.format(typeof n === 'string' ? BigInt(n) : n));

export function bytes(n) {
  return n === null || n === undefined ? NONE : scaled(Number(n), 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);
}

export const rate = (n) => (n === null || n === undefined ? NONE : `${num(n)}/s`);
export const byteRate = (n) => (n === null || n === undefined ? NONE : `${bytes(n)}/s`);

/** A number with its exact value for those who ask. */
export const count = (n) => h('span', { title: n === null || n === undefined ? 'unknown' : exact(n) }, num(n));
export const size = (n) => h('span', { title: n === null || n === undefined ? 'unknown' : `${exact(n)} bytes` }, bytes(n));

export const plural = (n, one, many = `${one}s`) => `${num(n)} ${Number(n) === 1 ? one : many}`;

const SPANS = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 1) return `${Math.round(seconds * 1000)}\u00a0ms`;
  const i = SPANS.findIndex(([, unit]) => seconds >= unit);
  const [name, unit] = SPANS[i];
  const rest = SPANS[i + 1];
  const whole = Math.floor(seconds / unit);
  if (!rest || whole >= 10) return `${whole}\u00a0${name}`;
  const left = Math.floor((seconds % unit) / rest[1]);
  return left ? `${whole}\u00a0${name} ${left}\u00a0${rest[0]}` : `${whole}\u00a0${name}`;
}

// Characters that hide, reorder or break text: controls, soft hyphen, bidi marks, zero-width and invisible operators,
// separators, fillers, tags, unassigned specials, and halves of surrogate pairs.
const UNSEEN = '\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180e\\u200b-\\u200f'
  + '\\u2028-\\u202f\\u2800\\u205f-\\u206f\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}\\ud800-\\udfff';
const HIDDEN = new RegExp(`([${UNSEEN}])`, 'u');
const HIDDEN_ALL = new RegExp(`[${UNSEEN}]`, 'gu');
const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\0': '\\0' };

function escaped(char) {
  if (SHORT[char]) return SHORT[char];
  const code = char.codePointAt(0);
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

/** The same text with hidden characters written out; for titles and other plain strings. */
export const plain = (text) => String(text).replace(HIDDEN_ALL, escaped);

/** Text of unknown origin as nodes: hidden characters are written out and marked, the direction stays inside.
 *  `lines` keeps line ends and tabs. */
export function visible(text, lines = false) {
  const parts = String(text).split(HIDDEN);
  const nodes = [];
  for (let i = 0; i < parts.length; i += 1) {
    if (!parts[i]) continue;
    const keep = i % 2 === 0 || (lines && (parts[i] === '\n' || parts[i] === '\t'));
    if (!keep) nodes.push(h('span', { class: 'esc', title: 'invisible character' }, escaped(parts[i])));
    else if (typeof nodes.at(-1) === 'string') nodes[nodes.length - 1] += parts[i];
    else nodes.push(parts[i]);
  }
  return h('bdi', { class: 'data' }, nodes);
}

/** At most `max` UTF-16 units, never half a character. */
export function cut(text, max) {
  if (text.length <= max) return text;
  const code = text.charCodeAt(max - 1);
  return text.slice(0, code >= 0xd800 && code < 0xdc00 ? max - 1 : max);
}
