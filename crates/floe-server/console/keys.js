// The keyboard: moves between screens, rows and fields.
import { h } from './dom.js';
import { navigate } from './router.js';
import { modal } from './ui.js';
import { stored, store } from './state.js';

const GO = { o: '/', t: '/topics', g: '/groups', d: '/dead-letters', s: '/server' };
const LIST = [
  ['/', 'focus the search or filter field'],
  ['j k', 'next and previous row'],
  ['Enter', 'open the row'],
  ['Esc', 'close the panel or dialog, leave the field'],
  ['Space', 'pause and resume the live tail'],
  ['g o', 'go to the overview'],
  ['g t', 'go to topics'],
  ['g g', 'go to consumer groups'],
  ['g d', 'go to dead letters'],
  ['g s', 'go to the server'],
  ['?', 'show these keys'],
];

let prefix = 0;

const typing = (node) => node.matches?.('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]');
const enabled = () => stored('keys') !== 'off';

/** Screens offer their own keys: {space, escape}. */
export const screenKeys = { space: null, escape: null };

export function clearScreenKeys() {
  screenKeys.space = null;
  screenKeys.escape = null;
}

function moveRow(step) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  if (rows.length === 0) return;
  const panel = document.querySelector('.split .detail:not([hidden])');
  // Inside the panel of a record, the keys go on from the row that it shows.
  const inPanel = panel?.contains(document.activeElement);
  const at = rows.findIndex((row) => (inPanel ? row.hasAttribute('aria-current') : row.contains(document.activeElement)));
  const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
  const target = next.matches('[tabindex]') ? next : next.querySelector('a, input');
  target?.focus();
  next.scrollIntoView({ block: 'nearest' });
  if (panel && next.matches('.record')) next.click();
}

export function helpDialog() {
  const toggle = h('input', { type: 'checkbox', checked: enabled(), onchange: (event) => store('keys', event.target.checked ? null : 'off') });
  modal('Keyboard shortcuts', () => [
    h('dl', { class: 'keys' }, LIST.map(([keys, text]) => [
      h('dt', null, keys.split(' ').map((key) => h('kbd', null, key))), h('dd', null, text)])),
    h('label', { class: 'check' }, toggle, 'Single-key shortcuts are on'),
  ]);
}

function escape(event) {
  if (document.querySelector('dialog[open]')) return;
  if (typing(event.target)) event.target.blur();
  else screenKeys.escape?.();
}

function plainKey(event) {
  if (performance.now() - prefix < 1200) {
    prefix = 0;
    if (GO[event.key]) {
      navigate(GO[event.key]);
      return true;
    }
  }
  switch (event.key) {
    case 'g': prefix = performance.now(); return true;
    case 'j': moveRow(1); return true;
    case 'k': moveRow(-1); return true;
    case '?': helpDialog(); return true;
    case '/': {
      const field = document.querySelector('main [data-search]');
      field?.focus();
      field?.select?.();
      return Boolean(field);
    }
    case ' ':
      if (!screenKeys.space || event.target.closest('button, a, summary, input')) return false;
      return screenKeys.space();
    default: return false;
  }
}

export function startKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') escape(event);
    if (!enabled() || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing(event.target) || document.querySelector('dialog[open]')) return;
    if (plainKey(event)) event.preventDefault();
  });
}
