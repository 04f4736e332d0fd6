// Dead letters: topics that hold them, and the letters of one, to be read and sent again.
import { h, render, own } from '../dom.js';
import { get, post, poll, topicApi, isAbort, isOffline } from '../api.js';
import { lettersPath, topicPath, recordPath, navigate } from '../router.js';
import { readOnly } from '../state.js';
import { count, size, visible, plural, num } from '../format.js';
import { time } from '../times.js';
import { preview } from '../results.js';
import { title, table, sortable, empty, errorBox, command, shell, field, formDialog, status, readOnlyNote } from '../ui.js';

const PAGE = 100;

export default function mount({ root, params, signal }) {
  if (params.topic === undefined) return list(root, signal);
  return new Letters(root, params.topic, signal).start();
}

function list(root, signal) {
  title('Dead letters');
  const view = { data: null, error: null };
  const open = h('input', { type: 'text', required: true, autocomplete: 'off', spellcheck: 'false', 'data-search': true });
  const other = own(h('form', { class: 'toolbar', onsubmit: (event) => { event.preventDefault(); navigate(lettersPath(open.value.trim()) ?? '/dead-letters'); } },
    field('Another topic', open), h('button', { type: 'submit' }, 'Open')));
  const draw = () => render(root, h('div', { class: 'page-head' }, h('h1', null, 'Dead letters')),
    h('p', { class: 'muted lead' }, 'Records that a processor failed to process, with the error and the origin of each.'),
    h('div', { class: 'slot-error' }, view.error ? errorBox(view.error) : null), topics(view.data), other);
  draw();
  poll(async () => {
    try {
      view.data = await get('/dead-letters', null, signal);
      view.error = null;
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  }, 10000, signal);
}

function topics(data) {
  if (data && data.topics.length === 0) {
    return empty('No topic holds dead letters.', 'A processor with a dead-letter topic writes to it the records that it fails to process. The same list on the command line:', command('floe dlq list orders-dead'));
  }
  const cols = [{ label: 'Topic', by: (t) => t.name }, { label: 'Letters', num: true, by: (t) => t.records }, { label: 'Size', num: true, cls: 'c2', by: (t) => t.bytes }, { label: 'Created', cls: 'c2', by: (t) => t.created_at }];
  return sortable('Topics with dead letters', cols, data?.topics ?? [], (t) => ({ key: `t${t.name}`, cells: [
    h('a', { href: lettersPath(t.name) }, visible(t.name)), count(t.records), size(t.bytes), time(t.created_at)] }), { cls: 'names' });
}

class Letters {
  constructor(root, topic, signal) {
    Object.assign(this, { root, topic, signal, letters: [], next: null, ended: false, error: null, chosen: new Set(), outcomes: new Map(), busy: false, loaded: false });
  }

  start() {
    title(`Dead letters of ${this.topic}`);
    const where = h('input', { type: 'text', id: 'letters-filter', class: 'mono', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', 'data-search': true, testid: 'letters-filter', placeholder: 'header.floe-dead-code = "handler_failed"' });
    this.where = '';
    this.form = own(h('form', { class: 'toolbar', role: 'search', 'aria-label': 'Dead letters', onsubmit: (event) => {
      event.preventDefault();
      Object.assign(this, { where: where.value.trim(), letters: [], next: null, ended: false, loaded: false, chosen: new Set(), last: null });
      this.load();
    } }, h('div', { class: 'field grow' }, h('label', { for: where.id }, 'Filter'), where), h('button', { type: 'submit', testid: 'letters-search' }, 'Search')));
    this.draw();
    this.load();
    return {};
  }

  async load() {
    this.busy = true;
    try {
      const from = this.next === null ? 'beginning' : undefined;
      const resume = this.next === null ? undefined : Object.entries(this.next).map(([p, o]) => `${p}:${o}`).join(',');
      const page = await get(topicApi(this.topic, '/dead-letters'), { from, resume, limit: PAGE, where: this.where }, this.signal);
      const known = new Set(this.letters.map(keyOf));
      this.letters.push(...page.letters.filter((letter) => !known.has(keyOf(letter))));
      this.ended = page.ended;
      this.next = page.next;
      this.error = null;
    } catch (error) {
      if (isAbort(error)) return;
      this.error = error;
    }
    this.busy = false;
    this.loaded = true;
    this.draw();
  }

  draw() {
    render(this.root,
      h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('a', { href: '/dead-letters' }, 'Dead letters'), h('span', { 'aria-hidden': 'true' }, ' / ')),
      h('div', { class: 'page-head' }, h('h1', { class: 'name' }, visible(this.topic)), h('p', { class: 'head-note' }, h('a', { href: topicPath(this.topic) }, 'messages of the topic')), this.actions()),
      readOnlyNote('This console is read-only: letters cannot be replayed.'),
      h('div', { class: 'slot-error' }, this.error ? errorBox(this.error, () => this.load()) : null),
      this.outcome(),
      this.form,
      this.loaded && this.letters.length === 0 && !this.error ? this.nothing() : this.list(),
      this.loaded && !this.ended && !this.error ? h('div', { class: 'pager' }, h('button', { type: 'button', disabled: this.busy, onclick: () => this.load() }, 'Load more')) : null);
  }

  nothing() {
    if (this.where) return empty('No letter passes the filter.', 'An empty filter shows all letters.');
    return empty('No letters here.', 'The topic is empty: everything was processed, or the retention deleted the letters.', command(`floe dlq list ${shell(this.topic)}`));
  }

  actions() {
    if (readOnly() || this.letters.length === 0) return null;
    const n = this.chosen.size;
    return h('div', { class: 'actions' }, h('span', { class: 'muted num', role: 'status' }, n ? `${num(n)} selected` : 'Select letters to replay them'),
      h('button', { type: 'button', class: 'primary', disabled: n === 0, testid: 'replay', onclick: () => this.replay() }, 'Replay'));
  }

  toggle(key, on) {
    if (on) this.chosen.add(key);
    else this.chosen.delete(key);
    this.draw();
    this.checkHead();
  }

  checkHead() {
    const all = this.root.querySelector('[data-all]');
    if (!all) return;
    const able = this.letters.filter(replayable);
    all.checked = able.length > 0 && this.chosen.size === able.length;
    all.indeterminate = this.chosen.size > 0 && !all.checked;
  }

  selectAll(on) {
    this.chosen = new Set(on ? this.letters.filter(replayable).map(keyOf) : []);
    for (const box of this.root.querySelectorAll('[data-testid=letter-select]')) box.checked = on;
    this.draw();
  }

  list() {
    const select = !readOnly();
    const all = h('input', { type: 'checkbox', 'aria-label': 'Select all letters', 'data-all': true, testid: 'letter-all', onchange: (event) => this.selectAll(event.target.checked) });
    const cols = [...(select ? [{ label: all, cls: 'c-check' }] : []), { label: 'Letter' }, { label: 'Error', cls: 'c-error' }, { label: 'Origin', cls: 'c1 c-origin' }, { label: 'Attempts', num: true, cls: 'c3' },
      { label: 'Key', cls: 'c3' }, { label: 'Value', cls: 'c3 c-value' }, { label: 'Given up', cls: 'c2' }];
    const rows = this.letters.map((letter) => ({ key: keyOf(letter), head: select ? 1 : 0, props: { testid: 'letter' }, cells: [...(select ? [this.box(letter)] : []), ...this.cells(letter)] }));
    return table('Dead letters', cols, rows, { body: { testid: 'letters' }, cls: 'letters' });
  }

  box(letter) {
    const key = keyOf(letter);
    return h('input', { type: 'checkbox', testid: 'letter-select', 'aria-label': `Select letter ${key}`, disabled: !replayable(letter), checked: this.chosen.has(key), onchange: (event) => this.toggle(key, event.target.checked) });
  }

  cells(letter) {
    const here = { topic: this.topic, partition: letter.partition, offset: letter.offset };
    const result = this.outcomes.get(keyOf(letter));
    return [
      h('a', { href: recordPath(here), class: 'num', 'aria-label': `letter ${letter.partition}/${letter.offset}` }, `${letter.partition}/${letter.offset}`),
      [replayable(letter) ? [h('code', { class: 'code' }, visible(letter.code ?? 'unknown')), ' ', visible(letter.error ?? '')] : h('span', { class: 'muted' }, 'no dead letter: the headers with origin and error are missing'),
        result ? [' ', replayed(result)] : null],
      letter.origin ? h('a', { href: recordPath(letter.origin) }, visible(letter.origin.topic), ` ${letter.origin.partition}/${letter.origin.offset}`) : h('span', { class: 'muted' }, 'unknown'),
      num(letter.attempts), h('div', { class: 'clamp' }, preview(letter.key, 60)), h('div', { class: 'clamp' }, preview(letter.value, 160)), time(letter.given_up_at ?? letter.timestamp)];
  }

  replay() {
    const letters = this.letters.filter((letter) => this.chosen.has(keyOf(letter))).map(({ partition, offset }) => ({ partition, offset }));
    const to = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', testid: 'replay-to', placeholder: 'topic of its origin' });
    formDialog(`Replay ${plural(letters.length, 'letter')}`, {
      fields: [h('p', null, 'Each letter is sent as a new record, without the headers of the dead letter. The letters stay in this topic; a second replay sends them again.'), field('To topic', to, 'Empty: each to the topic that it came from')],
      label: 'Replay', testid: 'replay-apply',
      submit: () => post(topicApi(this.topic, '/dead-letters/replay'), { letters, ...(to.value.trim() ? { to: to.value.trim() } : {}) }),
      done: (answer) => this.replayedAll(answer.results),
    });
  }

  replayedAll(results) {
    this.last = results;
    for (const result of results) {
      this.outcomes.set(keyOf(result), result);
      if (result.replayed) this.chosen.delete(keyOf(result));
    }
    for (const box of this.root.querySelectorAll('[data-testid=letter-select]')) {
      box.checked = this.chosen.has(box.closest('tr').getAttribute('data-key'));
    }
    this.draw();
    this.checkHead();
    this.root.querySelector('[data-testid=replay-results]')?.focus();
  }

  outcome() {
    if (!this.last) return null;
    const failed = this.last.filter((result) => !result.replayed);
    return h('section', { class: 'panel outcome-panel', tabindex: -1, 'aria-label': 'Results of the replay', testid: 'replay-results' },
      h('p', null, status(failed.length ? 'warn' : 'pass', `${num(this.last.length - failed.length)} of ${plural(this.last.length, 'letter')} replayed`)),
      h('ul', null, this.last.slice(0, 200).map((result) => h('li', null, h('span', { class: 'num' }, `${result.partition}/${result.offset} `), replayed(result)))));
  }
}

const keyOf = (letter) => `${letter.partition}/${letter.offset}`;
const replayable = (letter) => letter.code !== null && letter.code !== undefined;

function replayed(result) {
  if (!result.replayed) return status('fail', ['not replayed: ', visible(result.error.message)]);
  return h('span', null, status('pass', 'replayed'), ' to ', h('a', { href: recordPath(result.to) }, visible(result.to.topic), ` ${result.to.partition}/${result.to.offset}`));
}
