// One record in full: as JSON tree, text or hex, with its headers and what can be done with it.
import { h, fill } from '../dom.js';
import { get, post, topicApi, isAbort } from '../api.js';
import { recordPath, topicPath, navigate } from '../router.js';
import { can, readOnly } from '../state.js';
import { readJson, jsonTree } from '../json.js';
import { toBytes, byteLength, hexDump, isBinary } from '../bytes.js';
import { visible, bytes, cut } from '../format.js';
import { time } from '../times.js';
import { preview } from '../results.js';
import { copyButton, errorBox, formDialog, field, note, uid } from '../ui.js';

const TEXT_PAGE = 100000;
const HEX_PAGE = 4096;
const TREE_MAX = 4 * 1024 * 1024;

/** The panel beside the table of records. */
export class RecordPanel {
  constructor(topic, signal, onClose) {
    Object.assign(this, { topic, signal, onClose, turn: 0 });
    this.el = h('aside', { class: 'detail panel', hidden: true, tabindex: -1, 'aria-label': 'Record', testid: 'detail' });
  }

  async show(record) {
    const mine = this.turn += 1;
    this.el.hidden = false;
    this.draw(record);
    this.el.focus({ preventScroll: true });
    this.el.scrollTop = 0;
    if (!record.truncated) return;
    try {
      const whole = await get(topicApi(record.topic, `/records/${record.partition}/${record.offset}`), null, this.signal);
      if (mine === this.turn && !this.el.hidden) this.draw(whole);
    } catch (error) {
      if (!isAbort(error) && mine === this.turn) this.el.append(errorBox(error));
    }
  }

  draw(record) {
    const close = h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close the record', testid: 'detail-close', onclick: () => this.close() }, '\u00d7');
    fill(this.el, h('header', { class: 'detail-head' }, h('h2', { class: 'num' }, `Partition ${record.partition}, offset ${record.offset}`), close), recordView(record, 'h3'));
  }

  close() {
    if (this.el.hidden) return;
    this.el.hidden = true;
    this.turn += 1;
    this.onClose();
  }
}

/** `heading` is h2 where the record is the page, h3 in the panel. */
export function recordView(record, heading = 'h2') {
  return [facts(record), actions(record), content('Value', record, heading), headers(record.headers ?? [], heading)];
}

function facts(record) {
  const trace = traceOf(record.headers ?? []);
  const fact = (name, value) => h('div', null, h('dt', null, name), h('dd', null, value));
  return h('dl', { class: 'facts' },
    fact('Time', record.timestamp === null ? h('span', { class: 'muted' }, 'none') : [time(record.timestamp), h('span', { class: 'muted num' }, ` ${new Date(record.timestamp).toISOString?.() ?? ''}`)]),
    fact('Key', h('span', { class: 'mono', testid: 'detail-key' }, preview(record.key, 1000))),
    fact('Size', record.truncated ? `${bytes(record.truncated.value_bytes)}, loading the whole value` : bytes(byteLength(record.value))),
    trace ? fact('Trace', [h('code', { testid: 'trace-id' }, trace), ' ', copyButton('Copy', trace)]) : null);
}

/** The trace id of a W3C traceparent header. */
export function traceOf(headers) {
  const header = headers.find((item) => item.name.toLowerCase() === 'traceparent' && typeof item.value === 'string');
  return /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(header?.value ?? '')?.[1] ?? null;
}

function actions(record) {
  const path = recordPath(record);
  const text = () => (isBinary(record.value) ? record.value.b64 : record.value ?? '');
  return h('div', { class: 'actions wrap' },
    path ? h('a', { class: 'button small', href: path, testid: 'permalink' }, 'Permalink') : null,
    path ? copyButton('Copy link', () => location.origin + path, { 'data-testid': 'permalink-copy' }) : null,
    copyButton(isBinary(record.value) ? 'Copy as base64' : 'Copy value', text),
    readOnly() ? null : [
      h('button', { type: 'button', class: 'small', testid: 'send-again', onclick: () => copyDialog(record, record.topic) }, 'Send again'),
      h('button', { type: 'button', class: 'small', testid: 'copy-to', onclick: () => copyDialog(record, null) }, 'Copy to topic'),
      // Of a cut record, the rest is on its way.
      record.truncated ? null : h('button', { type: 'button', class: 'small', testid: 'edit-send', onclick: () => navigate(topicPath(record.topic, 'send'), { state: { record: { key: record.key, value: record.value, headers: record.headers } } }) }, 'Edit and send'),
    ]);
}

function copyDialog(record, target) {
  const from = `/records/${record.partition}/${record.offset}/copy`;
  const lead = h('p', null, 'The record at partition ', record.partition, ', offset ', record.offset, ' of ', h('strong', null, visible(record.topic)),
    target ? ' is appended again to the same topic, with key, value and headers.' : ' is appended to another topic, with key, value and headers.');
  const list = h('datalist', { id: uid('topics') });
  const input = h('input', { type: 'text', required: true, list: list.id, autocomplete: 'off', spellcheck: 'false', testid: 'copy-target' });
  input.oninput = async () => {
    try {
      const { topics } = await get('/topics', { search: input.value, limit: 20 });
      fill(list, topics.map((t) => h('option', { value: t.name })));
    } catch { /* suggestions only */ }
  };
  formDialog(target ? 'Send again' : 'Copy to topic', {
    fields: [lead, target ? null : [field('Topic', input), list]],
    label: target ? 'Send again' : 'Copy',
    submit: () => post(topicApi(record.topic, from), { to: target ?? input.value }),
    done: (sent) => note(h('p', null, 'Stored in ', visible(sent.topic), ', partition ', sent.partition, ', offset ',
      can('offsets') && sent.offset !== null ? h('a', { href: recordPath(sent) }, sent.offset) : String(sent.offset ?? 'unknown'))),
  });
}

// ---- value ----

function views(record) {
  const { value } = record;
  const all = [];
  if (typeof value === 'string' && !record.truncated && /^\s*[[{"\-\dtfn]/.test(value) && value.length <= TREE_MAX) {
    try {
      const node = readJson(value);
      all.push(['JSON', () => jsonTree(node)]);
    } catch { /* plain text */ }
  }
  if (!isBinary(value)) all.push(['Text', () => textView(value ?? '')]);
  all.push(['Hex', () => hexView(toBytes(value))]);
  return all;
}

function content(label, record, heading) {
  if (record.value === null) return h('p', { class: 'muted' }, 'The value is null.');
  const box = h('div', { class: 'value', testid: 'detail-value', tabindex: 0, role: 'region', 'aria-label': label });
  const buttons = views(record).map(([name, build], i) => h('button', { type: 'button', class: 'small', 'aria-pressed': String(i === 0), testid: `view-${name.toLowerCase()}`, onclick: (event) => {
    for (const button of buttons) button.setAttribute('aria-pressed', String(button === event.currentTarget));
    fill(box, build());
  } }, name));
  fill(box, views(record)[0][1]());
  return h('div', null, h('div', { class: 'section-head' }, h(heading, null, label), h('div', { class: 'segmented', role: 'group', 'aria-label': `${label} shown as` }, buttons)), box);
}

function paged(total, page, show, unit) {
  const into = h('div');
  let at = 0;
  const more = h('button', { type: 'button', class: 'link' });
  const next = () => {
    const end = Math.min(at + page, total);
    more.before(show(at, end));
    at = end;
    more.hidden = at >= total;
    more.textContent = `show more (${bytes(total - at).replace(/B$/, unit)} left)`;
  };
  into.append(more);
  more.onclick = next;
  next();
  return into;
}

function textView(text) {
  if (text === '') return h('p', { class: 'muted' }, 'The value is empty.');
  const piece = (from, to) => h('pre', null, visible(text.slice(from, to), true));
  if (text.length <= TEXT_PAGE) return piece(0, text.length);
  const first = cut(text, TEXT_PAGE).length;
  const into = h('div', null, piece(0, first));
  const more = h('button', { type: 'button', class: 'link' }, `show all ${text.length} characters`);
  more.onclick = () => { fill(into, piece(0, text.length)); };
  into.append(more);
  return into;
}

function hexView(data) {
  if (data.length === 0) return h('p', { class: 'muted' }, 'The value is empty.');
  return paged(data.length, HEX_PAGE, (from, to) => h('pre', { class: 'hex' }, hexDump(data, from, to)), 'B');
}

function headers(list, heading) {
  if (list.length === 0) return h('p', { class: 'muted' }, 'No headers.');
  return h('div', null, h(heading, null, `Headers (${list.length})`),
    h('dl', { class: 'headers-list', testid: 'detail-headers' }, list.map((item) => h('div', null, h('dt', null, visible(item.name)), h('dd', { class: 'mono' }, preview(item.value, 2000))))));
}

