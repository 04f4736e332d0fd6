// JSON for reading: unlike JSON.parse it keeps the digits of numbers, the order of members and members of the same name.
import { h } from './dom.js';
import { visible, cut, plain } from './format.js';

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const DEPTH = 200;

/** The index after the string that opens at `from`. No regular expression: one runs out of stack on long strings. */
export function stringEnd(text, from) {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let back = at;
    while (text[back - 1] === '\\') back -= 1;
    if ((at - back) % 2 === 0) return at + 1;
  }
  return text.length;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return null;
    this.at = pattern.lastIndex;
    return found[0];
  }

  fail(message) {
    const error = new SyntaxError(message);
    error.at = this.at;
    throw error;
  }

  token(char) {
    this.match(SPACE);
    if (this.text[this.at] !== char) return false;
    this.at += 1;
    return true;
  }

  /** {text, source} of a string, or null if none starts here. */
  string() {
    if (this.text[this.at] !== '"') return null;
    const source = this.text.slice(this.at, stringEnd(this.text, this.at));
    try {
      const text = JSON.parse(source);
      this.at += source.length;
      return { text, source };
    } catch {
      return this.fail('the text that starts here is broken');
    }
  }

  value(depth) {
    if (depth > DEPTH) this.fail('nested too deep');
    if (this.token('{')) return { type: 'object', items: this.members(depth) };
    if (this.token('[')) return { type: 'array', items: this.elements(depth) };
    const string = this.string();
    if (string) return { type: 'string', ...string };
    const number = this.match(NUMBER);
    if (number !== null) return { type: 'number', source: number };
    for (const word of ['true', 'false', 'null']) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return { type: word === 'null' ? 'null' : 'boolean', source: word };
      }
    }
    return this.fail(this.at >= this.text.length ? 'the text ends too early' : 'a value was expected');
  }

  members(depth) {
    const items = [];
    if (this.token('}')) return items;
    do {
      this.match(SPACE);
      const key = this.string() ?? this.fail('a member name was expected');
      if (!this.token(':')) this.fail('":" was expected');
      items.push({ key: key.text, source: key.source, node: this.value(depth + 1) });
    } while (this.token(','));
    if (!this.token('}')) this.fail('"," or "}" was expected');
    return items;
  }

  elements(depth) {
    const items = [];
    if (this.token(']')) return items;
    do items.push({ key: items.length, node: this.value(depth + 1) }); while (this.token(','));
    if (!this.token(']')) this.fail('"," or "]" was expected');
    return items;
  }
}

/** The tree of a JSON text; throws a SyntaxError with `at`. */
export function readJson(text) {
  const reader = new Reader(text);
  const node = reader.value(0);
  reader.match(SPACE);
  if (reader.at < text.length) reader.fail('text follows the value');
  return node;
}

/** The same value over several lines. */
export function pretty(node, indent = '') {
  if (!node.items) return node.source;
  const [open, close] = node.type === 'object' ? '{}' : '[]';
  if (node.items.length === 0) return open + close;
  const inner = `${indent}  `;
  const lines = node.items.map((item) => `${inner}${item.source ? `${item.source}: ` : ''}${pretty(item.node, inner)}`);
  return `${open}\n${lines.join(',\n')}\n${indent}${close}`;
}

const PAGE = 100;
const STRING_CUT = 2000;

function scalar(node) {
  if (node.type !== 'string') return h('span', { class: `j-${node.type}` }, node.source);
  if (node.text.length <= STRING_CUT) return h('span', { class: 'j-string' }, '"', visible(node.text), '"');
  const more = h('button', { type: 'button', class: 'link' }, `show all ${node.text.length} characters`);
  const short = h('span', { class: 'j-string' }, '"', visible(cut(node.text, STRING_CUT)), '\u2026 ', more);
  more.onclick = () => short.replaceWith(h('span', { class: 'j-string' }, '"', visible(node.text), '"'));
  return short;
}

function summary(node) {
  const n = node.items.length;
  if (node.type === 'array') return n === 1 ? '[ 1 element ]' : `[ ${n} elements ]`;
  const names = node.items.slice(0, 3).map((item) => cut(plain(item.key), 16)).join(', ');
  return `{ ${names}${n > 3 ? `, \u2026 ${n} members` : ''} }`;
}

function children(node, depth) {
  const list = h('ul', { class: 'tree' });
  let shown = 0;
  const more = h('button', { type: 'button', class: 'link' });
  const extend = () => {
    for (const item of node.items.slice(shown, shown + PAGE)) list.append(h('li', null, branch(item.key, item.node, depth + 1)));
    shown = Math.min(shown + PAGE, node.items.length);
    more.remove();
    if (shown < node.items.length) {
      more.textContent = `show more (${node.items.length - shown})`;
      list.append(h('li', null, more));
    }
  };
  more.onclick = extend;
  extend();
  return list;
}

function branch(key, node, depth) {
  const name = key === null ? null
    : [h('span', { class: typeof key === 'number' ? 'j-index' : 'j-key' }, typeof key === 'number' ? key : visible(key)), ': '];
  if (!node.items || node.items.length === 0) return h('div', { class: 'leaf' }, name, node.items ? (node.type === 'object' ? '{}' : '[]') : scalar(node));
  const head = h('summary', null, name, h('span', { class: 'muted' }, summary(node)));
  const box = h('details', null, head);
  // The inside is built when it is opened first, so that a large document opens at once.
  const grow = () => { if (box.open && !box.lastElementChild.matches('ul')) box.append(children(node, depth)); };
  box.ontoggle = grow;
  if (depth < 2 && node.items.length <= PAGE) {
    box.open = true;
    grow();
  }
  return box;
}

export const jsonTree = (node) => h('div', { class: 'json' }, branch(null, node, 0));
