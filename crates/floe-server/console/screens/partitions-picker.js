// Chooses partitions: all, or some. A disclosure with check boxes; a field for lists that are too long for boxes.
import { h, fill, setText } from '../dom.js';
import { plural } from '../format.js';

const BOXES = 64;

function parse(text) {
  return new Set((text ?? '').split(',').map((part) => part.trim()).filter((part) => /^\d+$/.test(part)));
}

/** "0-3,7" for people who type. */
function parseRanges(text, count) {
  const chosen = new Set();
  for (const part of text.split(',')) {
    const found = /^\s*(\d+)\s*(?:-\s*(\d+))?\s*$/.exec(part);
    if (!found) continue;
    const last = Math.min(Number(found[2] ?? found[1]), count - 1);
    for (let p = Number(found[1]); p <= last; p += 1) chosen.add(String(p));
  }
  return chosen;
}

export function partitionPicker(initial, onChange) {
  let chosen = parse(initial);
  let count = 0;
  const summary = h('summary', { testid: 'partitions' });
  const list = h('div', { class: 'boxes' });
  const box = h('details', { class: 'picker' }, summary, list);
  const label = () => setText(summary, chosen.size === 0 ? 'All' : chosen.size <= 4 ? [...chosen].join(', ') : plural(chosen.size, 'partition'));
  const changed = () => {
    if (chosen.size === count) chosen = new Set();
    label();
    onChange();
  };
  const boxes = () => {
    const all = h('button', { type: 'button', class: 'small', onclick: () => { chosen = new Set(); boxes(); changed(); } }, 'All partitions');
    if (count > BOXES) {
      const input = h('input', { type: 'text', class: 'mono', value: [...chosen].join(','), 'aria-label': `Partitions, from 0 to ${count - 1}`, placeholder: '0-3,7' });
      input.onchange = () => { chosen = parseRanges(input.value, count); changed(); };
      fill(list, all, input);
      return;
    }
    fill(list, all, Array.from({ length: count }, (_, i) => h('label', { class: 'check' },
      h('input', { type: 'checkbox', value: String(i), checked: chosen.has(String(i)), onchange: (event) => {
        if (event.target.checked) chosen.add(String(i));
        else chosen.delete(String(i));
        changed();
      } }), String(i))));
  };
  const setCount = (n) => {
    if (n === count) return;
    count = n;
    boxes();
    label();
  };
  // A click elsewhere closes it, as with a menu.
  box.ontoggle = () => {
    if (!box.open) return;
    const close = (event) => {
      if (box.contains(event.target)) return;
      box.open = false;
      document.removeEventListener('pointerdown', close);
    };
    document.addEventListener('pointerdown', close);
  };
  box.onkeydown = (event) => {
    if (event.key !== 'Escape' || !box.open) return;
    box.open = false;
    summary.focus();
    event.stopPropagation();
  };
  label();
  const el = h('div', { class: 'field', role: 'group', 'aria-label': 'Partitions' }, h('span', { class: 'label' }, 'Partitions'), box);
  return { el, setCount, value: () => [...chosen].sort((a, b) => a - b).join(',') };
}
