// Messages of a topic: choose a start, filter, search, follow. All choices are in the address.
import { h, fill, setText } from '../dom.js';
import { get, events, topicApi, apiUrl, parseJson, isAbort, isOffline } from '../api.js';
import { setQuery } from '../router.js';
import { limit, state } from '../state.js';
import { positionPicker } from '../position.js';
import { Results } from '../results.js';
import { screenKeys } from '../keys.js';
import { num, plural, duration, visible, bytes } from '../format.js';
import { charIndex } from '../bytes.js';
import { errorBox, empty, command, shell, options, announce, debounce, note } from '../ui.js';
import { RecordPanel } from './panel.js';
import { partitionPicker } from './partitions-picker.js';

const KINDS = ['newest', 'beginning', 'end', 'offset', 'time', 'ago'];

export default function mount({ root, topic, detail, query, signal }) {
  const view = new Messages(root, topic, query, signal);
  view.partitions.setCount(detail?.partitions ?? 0);
  view.start();
  return { refresh: (next) => view.partitions.setCount(next?.partitions ?? 0) };
}

class Messages {
  constructor(root, topic, query, signal) {
    Object.assign(this, { topic, signal, running: null, resume: null, mode: 'idle' });
    this.open = query.get('open');
    this.live = query.get('live') === '1';
    this.controls(query);
    this.outcome = h('div', { class: 'outcome' });
    const body = h('tbody', { testid: 'results' });
    this.results = new Results(body, (record, row) => this.select(record, row));
    this.results.onPaint = () => this.showWaiting();
    this.panel = new RecordPanel(topic, signal, () => this.closed());
    this.hint = h('div');
    const head = [['Time', 'c-time'], ['Part.', 'num', 'Partition'], ['Offset', 'num'], ['Key', 'c-key'], ['Value', 'c-value']];
    const table = h('table', { class: 'records' }, h('caption', { class: 'vh' }, 'Records'),
      h('thead', null, h('tr', null, head.map(([label, cls, full]) => h('th', { scope: 'col', class: cls, abbr: full }, label)))), body);
    this.split = h('div', { class: 'split' }, h('div', { class: 'split-main' }, table, this.hint, this.outcome), this.panel.el);
    fill(root, this.form, this.bar, this.split);
    signal.addEventListener('abort', () => this.running?.abort());
    screenKeys.escape = () => this.panel.close();
    screenKeys.space = () => this.togglePause();
  }

  controls(query) {
    const max = limit('scan_records', 1000);
    this.from = positionPicker({ label: 'Start', kinds: KINDS, value: query.get('from') ?? '-100', testid: 'from', onChange: () => this.sync() });
    this.partitions = partitionPicker(query.get('partitions'), () => this.sync());
    this.filter = h('input', { type: 'text', id: 'filter', class: 'mono', testid: 'filter', 'data-search': true, value: query.get('where') ?? '', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', 'aria-describedby': 'filter-note', placeholder: state.info?.filter_example ?? 'every record' });
    this.filterNote = h('div', { id: 'filter-note', class: 'filter-note' });
    this.limit = h('select', { id: 'limit', testid: 'limit', onchange: () => this.sync() },
      options([50, 100, 250, 500].filter((n) => n <= max).map((n) => [String(n), String(n)]), query.get('limit') ?? '100'));
    this.searchButton = h('button', { type: 'submit', class: 'primary', testid: 'search-start' }, 'Search');
    this.liveButton = h('button', { type: 'button', testid: 'tail-start', onclick: () => this.tail() }, 'Live tail');
    this.form = h('form', { class: 'panel query', role: 'search', 'aria-label': 'Messages' },
      h('div', { class: 'query-row' }, this.from.el, this.partitions.el,
        h('div', { class: 'field' }, h('label', { for: 'limit' }, 'Stop after'), this.limit),
        h('div', { class: 'field grow filter-field' }, h('label', { for: 'filter' }, 'Filter'), this.filter, this.filterNote),
        h('div', { class: 'actions' }, this.searchButton, this.liveButton)));
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.scan();
    };
    this.filter.oninput = debounce(() => this.check(), 250);
    this.statusBar();
  }

  statusBar() {
    const button = (label, testid, run) => h('button', { type: 'button', class: 'small', testid, hidden: true, onclick: run }, label);
    this.stopButton = button('Stop', 'stop', () => this.stop());
    this.pauseButton = button('Pause', 'tail-pause', () => this.togglePause());
    this.pauseButton.setAttribute('aria-pressed', 'false');
    this.progress = h('span', { class: 'progress num', testid: 'progress' });
    this.rate = h('span', { class: 'num', testid: 'rate', hidden: true });
    this.skipped = h('span', { class: 'status warn', testid: 'skipped', hidden: true });
    this.waiting = h('span', { class: 'muted num' });
    this.exports = h('span', { class: 'exports' }, 'Export ', ['jsonl', 'csv'].map((format, i) => [i ? ' ' : '',
      h('a', { download: true, 'data-format': format, testid: `export-${format}`, href: '/' }, format === 'csv' ? 'CSV' : 'JSONL')]));
    this.bar = h('div', { class: 'status-bar' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), this.progress, this.rate, this.skipped, this.waiting,
      this.stopButton, this.pauseButton, this.exports);
    this.link();
  }

  choices() {
    return { from: this.from.value(), partitions: this.partitions.value(), where: this.filter.value.trim() };
  }

  /** Writes the choices into the address and the export links. */
  sync() {
    const { from, partitions, where } = this.choices();
    setQuery({ from: from === '-100' ? '' : from, partitions, where, limit: this.limit.value === '100' ? '' : this.limit.value,
      live: this.mode === 'tail' ? '1' : '', open: this.open });
    this.link();
  }

  link() {
    for (const a of this.exports.querySelectorAll('a')) {
      a.href = apiUrl(topicApi(this.topic, '/export'), { format: a.dataset.format, ...this.choices(), limit: 100000 });
    }
  }

  start() {
    this.check();
    if (this.live) this.tail();
    else this.scan();
    if (this.open) this.reopen(this.open);
  }

  // ---- filter ----

  async check() {
    const where = this.filter.value.trim();
    this.checking?.abort();
    this.sync();
    if (where === '') {
      this.filterError(null);
      return;
    }
    this.checking = new AbortController();
    try {
      const answer = await get('/filter', { where }, AbortSignal.any([this.signal, this.checking.signal]));
      this.filterError(answer.ok ? null : answer.error);
    } catch (error) {
      if (!isAbort(error) && !isOffline(error)) this.filterError(error);
    }
  }

  filterError(error) {
    if (!error) {
      this.filter.removeAttribute('aria-invalid');
      fill(this.filterNote);
      return;
    }
    this.filter.setAttribute('aria-invalid', 'true');
    const text = this.filter.value.trim();
    const at = typeof error.position === 'number' ? charIndex(text, error.position) : null;
    const point = at === null ? null : h('code', { class: 'pointed' }, visible(text.slice(0, at)),
      h('mark', null, at < text.length ? visible(text.slice(at, at + 1)) : '\u2038'), visible(text.slice(at + 1)));
    fill(this.filterNote, h('p', { class: 'field-error', role: 'alert', testid: 'filter-error' }, visible(error.message), at === null ? '' : ` (at character ${at + 1})`), point);
  }

  // ---- runs ----

  begin(mode) {
    this.running?.abort();
    this.running = new AbortController();
    this.mode = mode;
    fill(this.outcome);
    fill(this.hint);
    setText(this.progress, mode === 'tail' ? 'Live: waiting for records' : 'Starting');
    setText(this.rate, '');
    setText(this.waiting, '');
    this.rate.hidden = mode !== 'tail';
    this.skipped.hidden = true;
    this.buttons();
    this.sync();
    return AbortSignal.any([this.signal, this.running.signal]);
  }

  buttons() {
    const busy = this.mode !== 'idle';
    this.stopButton.hidden = !busy;
    this.pauseButton.hidden = this.mode !== 'tail';
    this.bar.classList.toggle('busy', busy && !this.results.paused);
    setText(this.pauseButton, this.results.paused ? 'Resume' : 'Pause');
    this.pauseButton.setAttribute('aria-pressed', String(this.results.paused));
  }

  finish(text) {
    this.mode = 'idle';
    this.results.pause(false);
    this.running = null;
    setText(this.progress, text);
    this.rate.hidden = true;
    setText(this.waiting, '');
    this.buttons();
    this.sync();
    announce(text, true);
  }

  async scan(resume = null) {
    const signal = this.begin('scan');
    const { from, partitions, where } = this.choices();
    if (!resume) {
      this.results.clear(/^-\d/.test(from));
      this.seen = { looked_at: 0, found: 0 };
    }
    this.base = { ...this.seen };
    const query = { partitions, where, limit: this.limit.value, ...(resume ? { resume } : { from }) };
    try {
      await events(topicApi(this.topic, '/scan'), query, { signal, onEvent: (event) => this.scanEvent(event) });
      if (this.running && this.mode === 'scan') this.finish(`The stream broke off. ${this.counted()}`);
    } catch (error) {
      if (isAbort(error)) return;
      this.failed(error);
    }
  }

  counted() {
    return `Looked at ${plural(this.seen.looked_at, 'record')}, ${num(this.seen.found)} found`;
  }

  scanEvent(event) {
    if (event.name === 'record') {
      this.results.push(event.data);
      return;
    }
    const data = parseJson(event.data);
    if (event.name === 'progress' || event.name === 'end') {
      this.seen = { looked_at: this.base.looked_at + Number(data.looked_at), found: this.base.found + Number(data.found) };
      const more = data.bytes ? `, ${bytes(data.bytes)}` : '';
      setText(this.progress, `${this.counted()}${more}${data.seconds ? ` in ${duration(data.seconds)}` : ''}`);
      announce(this.counted());
    }
    if (event.name === 'gap') this.results.gap(data);
    else if (event.name === 'end') this.ended(data);
    else if (event.name === 'failed') this.failed(data.error);
  }

  ended(data) {
    this.results.settle();
    this.running?.abort();
    const next = Object.entries(data.next ?? {}).map(([partition, offset]) => `${partition}:${offset}`).join(',');
    const seconds = limit('scan_seconds', 60);
    const reason = { end: 'Reached the end', limit: 'Stopped at the limit', time: `Stopped after ${seconds} s` }[data.reason] ?? 'Ended';
    this.finish(`${reason}. ${this.counted()}`);
    if (this.results.body.childElementCount === 0) this.nothing(data.reason);
    if (this.results.dropped > 0) fill(this.hint, h('p', { class: 'muted' }, `The table keeps 500 rows; ${plural(this.results.dropped, 'row')} left it. The export holds all.`));
    if (next && data.reason !== 'end') {
      this.outcome.append(h('button', { type: 'button', testid: 'continue', onclick: () => this.scan(next) }, 'Continue the search'));
    }
  }

  nothing(reason) {
    const { from, where } = this.choices();
    const fromStart = h('button', { type: 'button', onclick: () => { this.from.set('beginning'); this.scan(); } }, 'Search from the beginning');
    if (reason === 'time') fill(this.hint, empty('No record found so far.', 'The search can go on where it stopped.'));
    else if (from === 'end') fill(this.hint, empty('Records behind the end do not exist yet.', 'The live tail shows them as they arrive.'));
    else if (where !== '') fill(this.hint, empty('No record passes the filter.', from === 'beginning' ? 'The search looked at every record of the selected partitions.' : h('p', null, fromStart)));
    else if (from === 'beginning' || from.startsWith('-')) fill(this.hint, empty('No records here yet.', 'Send one on the tab "Send", or with the command line:', command(`floe produce ${shell(this.topic)}`)));
    else fill(this.hint, empty('No records from this position on.', h('p', null, fromStart)));
  }

  failed(error) {
    this.running?.abort();
    this.finish('Failed');
    fill(this.outcome, errorBox(error, () => (this.live ? this.tail() : this.scan())));
    if (error.code === 'invalid_filter') this.filterError(error);
  }

  stop() {
    this.running?.abort();
    const live = this.mode === 'tail';
    this.results.pause(false);
    this.results.settle();
    this.finish(live ? `Stopped. ${plural(this.tailed, 'record')} passed` : `Stopped. ${this.counted()}`);
  }

  // ---- live ----

  async tail() {
    this.live = true;
    const signal = this.begin('tail');
    this.results.clear(true);
    this.tailed = 0;
    this.lastId = null;
    const { partitions, where } = this.choices();
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await events(topicApi(this.topic, '/tail'), { partitions, where, from: 'end' },
          { signal, lastId: this.lastId, onOpen: () => { failures = 0; }, onEvent: (event) => this.tailEvent(event) });
      } catch (error) {
        if (isAbort(error)) break;
        if (!isOffline(error) && error.status) {
          this.failed(error);
          break;
        }
      }
      if (signal.aborted || this.mode !== 'tail') break;
      setText(this.progress, 'The stream broke off; connecting again');
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 500 * 2 ** failures)));
    }
    this.live = false;
  }

  tailEvent(event) {
    if (event.id) this.lastId = event.id;
    if (event.name === 'record') {
      this.tailed += 1;
      this.results.push(event.data);
      return;
    }
    const data = parseJson(event.data);
    if (event.name === 'progress') {
      const where = this.filter.value.trim();
      setText(this.progress, where ? `Live: looked at ${plural(data.looked_at, 'record')}, ${num(data.found)} found` : `Live: ${plural(data.looked_at, 'record')}`);
      setText(this.rate, `${num(data.records_per_second)} records/s`);
      this.showWaiting();
      announce(`${num(data.found)} records so far`);
    } else if (event.name === 'skipped') {
      setText(this.skipped, `\u25b2 skipped ${num(data.total)}`);
      this.skipped.title = 'The browser was slower than the stream; the server left these records out.';
      this.skipped.hidden = false;
    } else if (event.name === 'gap') this.results.gap(data);
    else if (event.name === 'failed') this.failed(data.error);
  }

  togglePause() {
    if (this.mode !== 'tail') return false;
    this.results.pause(!this.results.paused);
    this.buttons();
    this.showWaiting();
    announce(this.results.paused ? 'Paused' : 'Resumed', true);
    return true;
  }

  showWaiting() {
    setText(this.waiting, this.results.paused ? `Paused, ${num(this.results.waiting)} new` : '');
  }

  // ---- one record ----

  select(record, row) {
    this.row = row;
    this.open = `${record.partition}/${record.offset}`;
    this.split.classList.add('has-panel');
    this.panel.show(record);
    this.sync();
  }

  async reopen(at) {
    const [partition, offset] = at.split('/');
    if (!/^\d+$/.test(partition ?? '') || !/^\d+$/.test(offset ?? '')) return;
    try {
      this.select(await get(topicApi(this.topic, `/records/${partition}/${offset}`), null, this.signal), null);
    } catch (error) {
      if (!isAbort(error)) note(errorBox(error), true);
    }
  }

  closed() {
    this.split.classList.remove('has-panel');
    this.open = null;
    this.sync();
    if (this.row?.isConnected) {
      this.row.removeAttribute('aria-current');
      this.row.focus();
    }
  }
}
