// The table of records. At most 500 rows are in the page: a fast stream passes through a short queue of unparsed
// events, and only those that are still in the queue when the page paints are ever parsed and shown.
import { h } from './dom.js';
import { parseJson } from './api.js';
import { visible, cut, plain, bytes } from './format.js';
import { byteLength, hexStart, isBinary } from './bytes.js';
import { time } from './times.js';
import { recordPath } from './router.js';

export const MAX_ROWS = 500;
// When more records pass than the table holds, they pass too fast to be read: few rows are shown until it is quieter.
const FAST_ROWS = 80;
const PREVIEW = 240;

/** Key or value as one line of a table. */
export function preview(data, max = PREVIEW) {
  if (data === null || data === undefined) return h('span', { class: 'muted' }, 'null');
  if (isBinary(data)) return h('span', { class: 'muted' }, `${bytes(byteLength(data))} binary: `, h('span', { class: 'hex' }, hexStart(data)));
  if (data === '') return h('span', { class: 'muted' }, 'empty');
  return visible(data.length > max ? `${cut(data, max)}\u2026` : data);
}

export class Results {
  /** `onOpen(record, row)` is called for a click or Enter on a row. */
  constructor(body, onOpen) {
    this.body = body;
    this.onOpen = onOpen;
    this.newestFirst = false;
    this.paused = false;
    this.queue = [];
    this.backlog = [];
    this.waiting = 0;
    this.frame = 0;
    this.lastCost = 0;
    this.lastPaint = 0;
    this.dropped = 0;
    body.onclick = (event) => this.click(event);
    body.onkeydown = (event) => this.key(event);
  }

  clear(newestFirst) {
    this.body.replaceChildren();
    this.body.parentNode.classList.remove('long-offsets');
    clearTimeout(this.rest);
    Object.assign(this, { newestFirst, queue: [], backlog: [], waiting: 0, paused: false, dropped: 0 });
  }

  /** `raw` is the JSON text of a record. */
  push(raw) {
    this.queue.push(raw);
    this.waiting += 1;
    // Shifting one by one would be slow; twice the table is small enough to keep.
    if (this.queue.length > 2 * MAX_ROWS) this.trim();
    this.plan();
  }

  trim() {
    this.dropped += this.queue.length - MAX_ROWS;
    this.queue = this.queue.slice(-MAX_ROWS);
  }

  plan() {
    if (this.frame || this.paused || this.queue.length === 0) return;
    const paint = (now) => {
      // A paint that took long is followed by a longer rest, so that input stays quick.
      if (now - this.lastPaint < Math.min(1000, this.lastCost * 3)) {
        this.frame = requestAnimationFrame(paint);
        return;
      }
      this.frame = 0;
      this.flush();
      this.lastPaint = now;
    };
    this.frame = requestAnimationFrame(paint);
  }

  flush() {
    if (this.paused) return;
    const start = performance.now();
    if (this.queue.length > MAX_ROWS) this.trim();
    let fresh = this.queue;
    this.queue = [];
    this.waiting = 0;
    if (fresh.length === MAX_ROWS) {
      this.backlog = fresh.slice(0, -FAST_ROWS);
      fresh = fresh.slice(-FAST_ROWS);
      this.body.replaceChildren();
    }
    this.insert(fresh, this.newestFirst);
    if (this.backlog.length && fresh.length < FAST_ROWS) this.fillUp();
    this.shorten();
    clearTimeout(this.rest);
    if (this.backlog.length) this.rest = setTimeout(() => { if (!this.paused && this.backlog.length) this.settle(); }, 500);
    // Layout and painting follow the script; their time counts as well.
    requestAnimationFrame(() => setTimeout(() => { this.lastCost = performance.now() - start; }));
    this.onPaint?.();
  }

  insert(raws, atTop) {
    const rows = raws.map((raw) => this.row(parseJson(raw)));
    if (atTop) this.body.prepend(...(this.newestFirst ? rows.reverse() : rows));
    else this.body.append(...(this.newestFirst ? rows.reverse() : rows));
  }

  /** Shows the older records that a fast stream left out. */
  fillUp() {
    const room = MAX_ROWS - this.body.childElementCount;
    if (room > 0) this.insert(this.backlog.slice(-room), !this.newestFirst);
    this.backlog = [];
  }

  /** The stream rests: everything that is kept is shown. */
  settle() {
    this.flush();
    if (this.backlog.length) this.fillUp();
    this.shorten();
  }

  shorten() {
    while (this.body.childElementCount > MAX_ROWS) {
      (this.newestFirst ? this.body.lastElementChild : this.body.firstElementChild).remove();
      this.dropped += 1;
    }
    if (!this.body.querySelector('[tabindex="0"]')) this.body.firstElementChild?.setAttribute('tabindex', '0');
  }

  pause(on) {
    if (on) this.settle();
    this.paused = on;
    if (!on) this.plan();
  }

  row(record) {
    const name = `partition ${record.partition}, offset ${record.offset}`;
    const row = h('tr', { class: 'record', tabindex: -1, 'data-row': true, testid: 'result-row', 'data-at': `${record.partition}/${record.offset}` },
      h('td', { class: 'c-time' }, time(record.timestamp)),
      h('td', { class: 'num' }, record.partition),
      h('th', { class: 'num', scope: 'row' }, h('a', { href: recordPath(record), tabindex: -1, 'aria-label': name }, record.offset)),
      h('td', { class: 'c-key' }, preview(record.key, 80)),
      h('td', { class: 'c-value' }, record.truncated ? h('span', { class: 'muted' }, `${bytes(record.truncated.value_bytes)}: `) : null, preview(record.value)));
    row.record = record;
    // The last digits tell offsets apart, so a long one gets the room it needs.
    if (String(record.offset).length > 12) this.body.parentNode.classList.add('long-offsets');
    return row;
  }

  gap(gap) {
    this.flush();
    const row = h('tr', { class: 'gap' }, h('td', { colspan: 5 },
      h('span', { class: 'status warn' }, `\u25b2 partition ${gap.partition}: records ${gap.from} to ${gap.to} are missing (${plain(gap.reason)})`)));
    if (this.newestFirst) this.body.prepend(row);
    else this.body.append(row);
  }

  click(event) {
    const row = event.target.closest('tr.record');
    if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // Selecting text for a copy is no click.
    if (String(getSelection()) !== '' && !event.target.closest('a')) return;
    event.preventDefault();
    this.open(row);
  }

  key(event) {
    const row = event.target.closest('tr.record');
    if (!row) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Enter' && event.target === row) {
      event.preventDefault();
      this.open(row);
    } else if (step) {
      const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
      if (next?.matches('.record')) next.focus();
      event.preventDefault();
    }
  }

  open(row) {
    this.body.querySelector('[aria-current]')?.removeAttribute('aria-current');
    row.setAttribute('aria-current', 'true');
    this.body.querySelector('[tabindex="0"]')?.setAttribute('tabindex', '-1');
    row.setAttribute('tabindex', '0');
    this.onOpen(row.record, row);
  }
}
