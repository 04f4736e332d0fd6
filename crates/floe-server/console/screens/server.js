// The server: nodes, the parts of this program, connections, requests, limits.
import { h, render } from '../dom.js';
import { get, poll, isAbort, isOffline } from '../api.js';
import { topicPath, groupPath } from '../router.js';
import { state } from '../state.js';
import { count, size, num, visible, plain, duration, bytes, NONE } from '../format.js';
import { title, sortable, empty, errorBox, status, command } from '../ui.js';

export default function mount({ root, signal }) {
  title('Server');
  const view = { data: null, error: null };
  const draw = () => render(root, content(view));
  draw();
  poll(async () => {
    try {
      view.data = await get('/server', null, signal);
      view.error = null;
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  }, 5000, signal);
}

function content({ data, error }) {
  return [
    h('div', { class: 'page-head' }, h('h1', null, 'Server')),
    h('div', { class: 'slot-error' }, error ? errorBox(error) : null),
    data ? [facts(data), h('div', { class: 'masonry' }, data.serving ? serving(data.serving) : null, nodes(data), circuits(data)), components(data.components), data.serving ? null : notServing()]
      : h('p', { class: 'muted' }, error ? '' : 'Loading'),
  ];
}

function facts(data) {
  const fact = (label, value) => h('div', null, h('dt', null, label), h('dd', { class: 'num' }, value));
  return h('dl', { class: 'figures panel' }, fact('Version', visible(data.version)), fact('Uptime', duration(data.uptime_seconds)),
    fact('Memory', size(data.process.memory_bytes)), fact('Engine', visible(state.info.engine)), fact('Address', visible(state.info.url)));
}

const section = (label, ...content) => h('section', { class: 'panel', 'aria-label': label }, h('h2', null, label), content);

function nodes(data) {
  if (data.nodes.length === 0) return section('Nodes', h('p', { class: 'muted' }, 'The engine runs in this process and has no nodes.'));
  return section('Nodes', sortable('Nodes', [{ label: 'Node', by: (n) => n.name }, { label: 'State', by: (n) => n.state }, { label: 'Leads' }], data.nodes, (n) => ({ key: n.name, cells: [
    visible(n.name), status(n.ready ? 'pass' : 'fail', visible(n.state)), n.leads === null ? NONE : n.leads ? 'yes' : 'no'] })));
}

const CIRCUIT = { closed: ['pass', 'closed'], half_open: ['warn', 'half open'], open: ['fail', 'open'] };

function circuits(data) {
  if (data.circuits.length === 0) return section('Circuit breakers', h('p', { class: 'muted' }, 'No breaker is in use.'));
  return section('Circuit breakers', sortable('Circuit breakers', [{ label: 'Breaker', by: (c) => c.name }, { label: 'State', by: (c) => c.state }], data.circuits, (c) => ({ key: c.name, cells: [
    visible(c.name), status(...(CIRCUIT[c.state] ?? ['warn', plain(c.state)]))] })));
}

const KINDS = { producer: 'Producer', consumer: 'Consumer', processor: 'Processor', outbox: 'Outbox' };

/** Producers, consumers, processors and outboxes of this program, the ones with a problem first. */
function components(list) {
  if (list.length === 0) return section('This program', h('p', { class: 'muted' }, 'No producer, consumer, processor or outbox is open in this program.'));
  const parts = list.map((c, at) => ({ ...c, at })).sort((a, b) => Boolean(b.finding) - Boolean(a.finding));
  const cols = [{ label: 'Part', by: (c) => KINDS[c.kind] ?? c.kind }, { label: 'Topic', by: (c) => [c.topic, c.to ?? ''].join(' ') }, { label: 'Group', cls: 'c2', by: (c) => c.group },
    { label: 'Memory', cls: 'c1' }, { label: 'Counters', cls: 'c1' }, { label: 'State', by: (c) => c.finding ?? 'open' }];
  return section('This program', sortable('Producers, consumers, processors and outboxes', cols, parts, (c) => ({ key: `${c.at} ${c.kind} ${c.topic}`, cells: [
      KINDS[c.kind] ?? visible(c.kind), [h('a', { href: topicPath(c.topic) }, visible(c.topic)), c.to === null ? null : [' to ', h('a', { href: topicPath(c.to) }, visible(c.to))]],
      c.group === null ? NONE : h('a', { href: groupPath(c.group) }, visible(c.group)), c.limit === null ? NONE : use(c.used, c.limit, bytes, `${c.kind} of ${plain(c.topic)}`, c.kind !== 'consumer'),
      c.counters.length === 0 ? NONE : c.counters.map((one, i) => [i ? ', ' : null, h('span', { class: 'nobr' }, `${num(one.value)} ${one.name}`)]),
      c.finding ? status('warn', visible(c.finding)) : status('pass', 'open')] })));
}

/** A bar with its figures; the bar alone would tell by length and colour only. */
function use(used, max, format, label, warns = true) {
  const part = max > 0 ? used / max : 0;
  return h('div', { class: 'use' }, h('meter', { min: 0, max: Math.max(max, 1), value: used, ...(warns ? { high: max * 0.8, low: max * 0.6, optimum: 0 } : {}), 'aria-label': `use of ${label}` }),
    h('span', { class: 'num' }, `${format(used)} of ${format(max)}`), warns && part >= 0.9 ? status('warn', 'nearly full') : null);
}

function serving(s) {
  return [
    section('Requests', requests(s.requests)),
    section('Connections', sortable('Connections', [{ label: 'Protocol', by: (c) => c.protocol }, { label: 'Open', num: true, by: (c) => c.open }, { label: 'Total', num: true, by: (c) => c.total }], s.connections, (c) => ({ key: c.protocol, cells: [visible(c.protocol), num(c.open), count(c.total)] }))),
    section('Errors', s.errors.length === 0 ? h('p', { class: 'muted' }, 'No errors since the start.')
      : sortable('Errors', [{ label: 'Protocol', by: (e) => e.protocol }, { label: 'Error', by: (e) => e.label }, { label: 'Total', num: true, by: (e) => e.total }], s.errors, (e) => ({ key: `${e.protocol} ${e.label}`, cells: [visible(e.protocol), visible(e.label), count(e.total)] }))),
    section('Limits', limits(s)),
  ];
}

function limits(s) {
  const memory = s.memory ? [{ name: 'memory', value: s.memory.limit, used: s.memory.used, format: bytes }] : [];
  const cols = [{ label: 'Limit', by: (l) => l.name }, { label: 'Value', num: true }, { label: 'Use' }];
  return sortable('Limits', cols, [...s.limits, ...memory], (l) => ({ key: l.name, cells: [visible(l.name), l.format ? l.format(l.value) : visible(l.value), limitUse(l)] }));
}

function limitUse(l) {
  if (l.used === null || l.used === undefined) return h('span', { class: 'muted' }, 'not counted');
  const max = Number(l.value);
  return Number.isFinite(max) ? use(l.used, max, l.format ?? num, plain(l.name)) : num(l.used);
}

function requests(list) {
  if (list.length === 0) return h('p', { class: 'muted' }, 'No request yet.');
  const cols = [{ label: 'Protocol', cls: 'c1', by: (r) => r.protocol }, { label: 'API', by: (r) => r.api }, { label: 'Total', num: true, by: (r) => r.total }, { label: 'Errors', num: true, by: (r) => r.errors }];
  return sortable('Requests', cols, list, (r) => ({ key: `${r.protocol} ${r.api}`, cells: [
    visible(r.protocol), visible(r.api), count(r.total), r.errors > 0 ? status('warn', num(r.errors)) : '0'] }));
}

function notServing() {
  return empty('This console does not serve clients.', 'Connections, requests and limits appear when the console runs inside the server:', command('floe serve --data ./floe-data'));
}
