// Pieces that several screens share.
import { h, fill, render, own } from './dom.js';
import { visible, plain, num } from './format.js';
import { readOnly } from './state.js';

export const title = (text) => { document.title = `${plain(text)} \u00b7 floe console`; };

let serial = 0;
export const uid = (prefix) => `${prefix}-${serial += 1}`;

/** Tells screen readers, at most once a second per text. */
let announced = 0;
export function announce(text, urgent = false) {
  const now = performance.now();
  if (!urgent && now - announced < 3000) return;
  announced = now;
  document.getElementById('live').textContent = text;
}

const MARK = { pass: '\u25cf', warn: '\u25b2', fail: '\u25a0' };
const WORD = { pass: 'healthy', warn: 'warning', fail: 'failing' };

/** A state in shape, colour and words. */
export const status = (level, text) => h('span', { class: `status ${level}` },
  h('span', { 'aria-hidden': 'true' }, MARK[level] ?? MARK.warn), ' ', text ?? WORD[level] ?? level);

export const tag = (text, kind = '') => h('span', { class: `tag ${kind}` }, text);

export function errorBox(error, retry) {
  return h('div', { class: 'error', role: 'alert', testid: 'error' },
    h('p', null, status('fail', visible(error.message)), error.code ? h('code', { class: 'code' }, plain(error.code)) : null),
    error.causes?.length ? h('ul', null, error.causes.map((cause) => h('li', null, visible(cause)))) : null,
    error.hint ? h('p', { class: 'hint' }, visible(error.hint)) : null,
    retry ? h('button', { type: 'button', onclick: retry }, 'Try again') : null);
}

/** A short message in the corner; errors stay until they are closed. */
export function note(content, error = false) {
  const close = h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close the message' }, '\u00d7');
  const box = h('div', { class: 'note', role: error ? null : 'status' }, content, close);
  close.onclick = () => box.remove();
  document.getElementById('notes').append(box);
  if (!error) setTimeout(() => box.remove(), 8000);
}

export const noteError = (error) => note(errorBox(error), true);

export function empty(title, ...content) {
  return h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), content.map((c) => (typeof c === 'string' ? h('p', null, c) : c)));
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS the clipboard is closed to pages, except for a selection.
    const area = h('textarea', { class: 'vh', value: text, 'aria-label': 'Text to copy' });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

export function copyButton(label, text, props) {
  const button = h('button', { type: 'button', class: 'small', ...props }, label);
  button.onclick = async () => {
    const done = await copy(typeof text === 'function' ? text() : text);
    button.textContent = done ? 'Copied' : 'Copying failed';
    announce(done ? 'Copied' : 'Copying failed', true);
    setTimeout(() => { button.textContent = label; }, 1500);
  };
  return button;
}

export const command = (text) => h('div', { class: 'command' }, h('code', null, plain(text)), copyButton('Copy', text));

/** Words of a shell are safe without quotes only if they hold plain characters. */
export const shell = (word) => (/^[\w.,:/@+-]+$/.test(word) ? word : `'${String(word).replace(/'/g, "'\\''")}'`);

export function field(label, control, hint) {
  const id = control.id || uid('f');
  control.id = id;
  const note = hint ? h('p', { class: 'hint', id: `${id}-hint` }, hint) : null;
  if (note) control.setAttribute('aria-describedby', note.id);
  return h('div', { class: 'field' }, h('label', { for: id }, label), control, note);
}

export const options = (pairs, selected) => pairs.map(([value, label]) => h('option', { value, selected: value === selected }, label));

/** A dialog. `build(close)` returns its content; focus returns to the element that had it. */
export function modal(title, build, className = '') {
  const id = uid('dialog');
  const box = h('dialog', { class: className, 'aria-labelledby': id });
  const close = () => box.close();
  fill(box, h('header', null, h('h2', { id }, title),
    h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: close }, '\u00d7')), h('div', { class: 'dialog-body' }, build(close)));
  box.addEventListener('close', () => box.remove());
  // A click on the backdrop hits the dialog itself.
  box.addEventListener('pointerdown', (event) => { if (event.target === box) box.dataset.down = '1'; });
  box.addEventListener('click', (event) => { if (event.target === box && box.dataset.down) close(); });
  document.body.append(box);
  box.showModal();
  box.querySelector('[data-focus], .dialog-body input, .dialog-body select, .dialog-body textarea, .dialog-body button')?.focus();
  return box;
}

/** A form in a dialog: `submit()` returns a promise; its error is shown inside and the dialog stays. */
export function formDialog(title, { fields, label, danger = false, submit, done, testid = 'submit' }) {
  return modal(title, (close) => {
    const problem = h('div');
    const button = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', testid }, label);
    const form = h('form', { novalidate: false }, fields, problem,
      h('div', { class: 'actions' }, h('button', { type: 'button', onclick: close }, 'Cancel'), button));
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      fill(problem);
      try {
        const result = await submit();
        close();
        done?.(result);
      } catch (error) {
        fill(problem, errorBox(error));
      } finally {
        button.disabled = false;
      }
    };
    return form;
  });
}

/** Deleting needs the name, typed. */
export function deleteDialog(kind, name, consequence, submit, done) {
  const input = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', required: true, testid: 'confirm-name' });
  const check = () => input.setCustomValidity(input.value === name ? '' : `Type the name of the ${kind}.`);
  input.oninput = check;
  check();
  return formDialog(`Delete ${kind}`, {
    fields: [h('p', null, consequence), field(h('span', null, `Type the name of the ${kind}: `, h('strong', null, visible(name))), input)],
    label: `Delete ${kind}`, danger: true, submit, done, testid: 'confirm-delete',
  });
}

/** Controls that change something: absent in a read-only console, which says so in its header. */
export const changing = (...controls) => (readOnly() ? null : controls);
export const readOnlyNote = (text = 'This console is read-only: changes are switched off.') => (readOnly() ? h('p', { class: 'muted read-only-note' }, text) : null);

/** cols: {label, num, cls, sort}; rows: {key, cells, props}. The first cell names the row. */
export function table(caption, cols, rows, { sort, onSort, body, cls = '' } = {}) {
  const head = cols.map((col) => {
    const active = sort && col.sort === sort.by;
    const label = col.sort && onSort
      ? h('button', { type: 'button', class: 'sort', 'data-sort': col.sort, onclick: (event) => onSort(col.sort, event) }, col.label,
        h('span', { 'aria-hidden': 'true', class: 'arrow' }, active ? (sort.order === 'desc' ? '\u2193' : '\u2191') : ''))
      : col.label;
    return h('th', { scope: 'col', class: cellClass(col), 'aria-sort': active ? (sort.order === 'desc' ? 'descending' : 'ascending') : null }, label);
  });
  const box = h('div', { class: 'scroll' }, h('table', { class: cls }, h('caption', { class: 'vh' }, caption),
    h('thead', null, h('tr', null, head)),
    h('tbody', body, rows.map((row) => h('tr', { 'data-key': row.key, 'data-row': true, ...row.props },
      row.cells.map((cell, i) => h(i === (row.head ?? 0) ? 'th' : 'td', { scope: i === (row.head ?? 0) ? 'row' : null, class: cellClass(cols[i]) }, cell)))))));
  // A table that holds nothing to focus must take the focus itself, so that the keyboard can scroll it sideways.
  if (!box.querySelector('tbody a, tbody input, tbody button')) {
    box.setAttribute('tabindex', '0');
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', caption);
  }
  return box;
}

/** Rows from which a list offers a search, and rows of a page. */
const FEW = 10;
const PAGE = 100;

/** Order, search and page of lists that are here as a whole, kept while the page is open. */
const views = new Map();

function viewOf(caption) {
  if (!views.has(caption)) {
    const view = { order: null, search: '', skip: 0, draw: null };
    const input = h('input', { type: 'search', 'data-search': true, autocomplete: 'off', spellcheck: 'false', testid: 'list-search', 'aria-label': `Search: ${caption}`, placeholder: 'search' });
    view.bar = own(h('div', { class: 'toolbar' }, input));
    input.oninput = debounce(() => {
      const shown = view.draw({ search: input.value.trim().toLowerCase(), skip: 0 });
      announce(`${num(shown)} found`);
    }, 150);
    views.set(caption, view);
  }
  return views.get(caption);
}

const missing = (value) => value === null || value === undefined;

function compare(by, order) {
  const turn = order === 'desc' ? -1 : 1;
  // Missing values come last in both orders.
  return (one, other) => {
    const [a, b] = [by(one), by(other)];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return turn * (typeof a === 'string' ? a.localeCompare(b) : Number(a) - Number(b));
  };
}

/** A list that is here as a whole: columns with `by` sort and find it in the page, which shows a part. `row` makes the row of an item. */
export function sortable(caption, cols, items, row, options = {}) {
  const view = viewOf(caption);
  const named = cols.map((col) => (col.by ? { ...col, sort: col.label } : col));
  const text = (item) => named.map((col) => col.by?.(item)).filter((value) => !missing(value)).join(' ').toLowerCase();
  const found = view.search ? items.filter((item) => text(item).includes(view.search)) : items;
  const by = named.find((col) => col.sort && col.sort === view.order?.by);
  const sorted = by ? [...found].sort(compare(by.by, view.order.order)) : found;
  view.skip = Math.max(0, Math.min(view.skip, Math.floor((found.length - 1) / PAGE) * PAGE));
  const onSort = (label) => {
    const first = named.find((one) => one.sort === label).num ? 'desc' : 'asc';
    const order = view.order?.by === label ? (view.order.order === 'asc' ? 'desc' : 'asc') : first;
    view.draw({ order: { by: label, order } });
  };
  const list = h('div', { class: 'list', 'data-list': caption }, items.length > FEW || view.search ? view.bar : null,
    table(caption, named, sorted.slice(view.skip, view.skip + PAGE).map(row), { ...options, sort: view.order, onSort }),
    view.search && found.length === 0 ? h('p', { class: 'muted' }, 'Nothing here has this in its text.') : null,
    pager(view.skip, PAGE, found.length, (skip) => view.draw({ skip })));
  view.draw = (change) => {
    Object.assign(view, change);
    const shown = [...document.querySelectorAll('.list')].find((one) => one.dataset.list === caption);
    if (shown) render(shown, [...sortable(caption, cols, items, row, options).childNodes]);
    return items.filter((item) => text(item).includes(view.search)).length;
  };
  return list;
}

const cellClass = (col) => [col.num ? 'num' : '', col.cls ?? ''].join(' ').trim() || null;

export function pager(skip, page, total, onMove) {
  if (total <= page && skip === 0) return null;
  const last = Math.min(skip + page, total);
  return h('div', { class: 'pager', role: 'group', 'aria-label': 'Pages' },
    h('button', { type: 'button', disabled: skip === 0, onclick: () => onMove(Math.max(0, skip - page)) }, 'Previous'),
    h('span', { class: 'num' }, total === 0 ? '0' : `${num(skip + 1)}\u2013${num(last)} of ${num(total)}`),
    h('button', { type: 'button', disabled: last >= total, testid: 'next-page', onclick: () => onMove(skip + page) }, 'Next'));
}

export function head(title, ...actions) {
  return h('div', { class: 'page-head' }, h('h1', null, title), h('div', { class: 'actions' }, actions));
}

export function debounce(run, ms) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), ms);
  };
}

