// Topics of an engine that does not list them: opened by name, and remembered by this browser.
import { h, own } from './dom.js';
import { navigate, topicPath } from './router.js';
import { readOnly, state, stored, store } from './state.js';
import { visible } from './format.js';
import { empty, field, readOnlyNote } from './ui.js';

const REMEMBERED = 20;

const place = () => `topics ${state.info.url}`;

/** Names that were opened here before, the latest first. */
function names() {
  try {
    const list = JSON.parse(stored(place()) ?? '[]');
    return Array.isArray(list) ? list.filter((name) => typeof name === 'string' && topicPath(name)) : [];
  } catch {
    return [];
  }
}

export function remember(name) {
  store(place(), JSON.stringify([name, ...names().filter((other) => other !== name)].slice(0, REMEMBERED)));
}

export function forget(name) {
  store(place(), JSON.stringify(names().filter((other) => other !== name)));
}

/** A form that opens a topic, and links to those that were opened before. */
export function unlisted() {
  const input = h('input', { type: 'text', required: true, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', 'data-search': true, testid: 'open-topic' });
  const open = (event) => {
    event.preventDefault();
    const path = topicPath(input.value.trim());
    if (path) navigate(path);
  };
  const known = names();
  return own(h('div', { class: 'unlisted' },
    empty('This engine does not list its topics.', readOnly() ? 'Open one by its name.' : 'Open one by its name, or create one.'),
    h('form', { class: 'toolbar', onsubmit: open }, field('Topic', input), h('button', { type: 'submit', testid: 'open-submit' }, 'Open')),
    known.length === 0 ? null : [h('h2', null, 'Opened before in this browser'),
      h('ul', { class: 'known' }, known.map((name) => h('li', null, h('a', { href: topicPath(name), testid: 'known-topic' }, visible(name)))))],
    readOnlyNote()));
}
