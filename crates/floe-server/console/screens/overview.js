// The state of everything on one page; refreshed in place.
import { h, render, own, isLocal } from '../dom.js';
import { get, poll, isAbort, isOffline } from '../api.js';
import { state, can, readOnly } from '../state.js';
import { lineChart } from '../charts.js';
import { topicPath, groupPath } from '../router.js';
import { rate, byteRate, bytes, num, count, size, visible, plural } from '../format.js';
import { time } from '../times.js';
import { title, status, table, empty, errorBox, command, tag } from '../ui.js';
import { unlisted } from '../unlisted.js';

export default function mount({ root, signal }) {
  title('Overview');
  const records = lineChart({ title: 'Records per second', unit: ' records/s', format: num });
  const sizes = lineChart({ title: 'Bytes per second', unit: '/s', format: bytes, base: 1024 });
  const charts = own(h('div', { class: 'charts' }, records.el, sizes.el));
  const view = { data: null, error: null, unlisted: can('list_topics') ? null : unlisted() };
  const draw = () => render(root, content(view, charts));
  draw();
  poll(async () => {
    try {
      view.data = await get('/overview', null, signal);
      view.error = null;
      showRates(view.data.rates, records, sizes);
    } catch (error) {
      if (isAbort(error)) return;
      // The banner tells about a lost connection; the last figures stay.
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  }, 5000, signal);
}

export function showRates(rates, records, sizes, slots = 180) {
  const at = { end: rates.end, step: rates.step_seconds, slots };
  records.update({ ...at, values: rates.records ?? [] });
  sizes?.update({ ...at, values: rates.bytes ?? [], empty: rates.bytes ? undefined : 'this engine does not tell sizes' });
}

function content(view, charts) {
  const { data, error } = view;
  const head = [
    h('div', { class: 'page-head' }, h('h1', null, 'Overview'), health(data)),
    h('div', { class: 'slot-error' }, error ? errorBox(error) : null),
  ];
  // The first answer decides how long the list of findings is; nothing may jump because of it.
  if (!data) return head;
  return [
    head,
    attention(data),
    ...(can('list_topics') ? [totals(data?.totals), charts, h('div', { class: 'columns' }, topics(data), can('offsets') ? groups(data) : null)] : [view.unlisted]),
  ];
}

function health(data) {
  if (!data) return h('p', { class: 'muted' }, 'Loading');
  return h('p', { class: 'head-note' }, status(data.health.status), h('span', { class: 'muted' }, ' \u00b7 ', engineName(), ' \u00b7 floe ', visible(state.info.version)));
}

// The URL mostly starts with the name of the engine.
function engineName() {
  const { engine, url } = state.info;
  return [url.startsWith(engine) ? null : `${engine} `, visible(url)];
}

const LEVELS = { fail: 0, warn: 1 };

function attention(data) {
  if (!data) return null;
  // Findings of the health check without a link of their own come behind the linked ones.
  const items = [...data.attention].sort((a, b) => (LEVELS[a.level] ?? 2) - (LEVELS[b.level] ?? 2));
  const known = new Set(items.map((item) => item.text));
  for (const text of data.health.findings) if (!known.has(text)) items.push({ level: data.health.status === 'pass' ? 'warn' : data.health.status, text, link: null });
  if (items.length === 0) return null;
  return h('section', { class: 'panel attention', 'aria-labelledby': 'attention' },
    h('h2', { id: 'attention' }, 'Needs attention'),
    h('ul', null, items.map((item) => h('li', { class: item.level },
      status(item.level), ' ', item.link && isLocal(item.link) ? h('a', { href: item.link }, visible(item.text)) : visible(item.text)))));
}

function totals(data) {
  const figure = (label, value) => h('div', null, h('dt', null, label), h('dd', { class: 'num' }, value));
  return h('dl', { class: 'figures panel' },
    figure('Topics', count(data?.topics)), figure('Partitions', count(data?.partitions)),
    can('offsets') ? figure('Consumer groups', count(data?.groups)) : null,
    figure('Records', count(data?.records)), figure('Stored', size(data?.bytes)));
}

function topics(data) {
  const rows = (data?.topics ?? []).map((t) => ({ key: `t${t.name}`, cells: [
    [h('a', { href: topicPath(t.name) }, visible(t.name)), t.damage.length ? [' ', tag('damage', 'fail')] : null],
    rate(t.records_per_second), byteRate(t.bytes_per_second), count(t.records)] }));
  return h('section', { class: 'panel', 'aria-labelledby': 'busiest' },
    h('h2', { id: 'busiest' }, 'Busiest topics'),
    data && rows.length === 0
      ? empty('No topic exists yet.', readOnly() ? 'Topics appear here when a program creates them.' : h('p', null, h('a', { href: '/topics' }, 'Create a topic'), ', or use the command line:'), command('floe topic create orders --partitions 3'))
      : table('Busiest topics', [{ label: 'Topic' }, { label: 'Records', num: true }, { label: 'Bytes', num: true, cls: 'c2' }, { label: 'Total', num: true, cls: 'c2' }], rows, { cls: 'names' }),
    h('p', { class: 'more' }, h('a', { href: '/topics?sort=rate&order=desc' }, data ? `All topics (${num(data.totals.topics)})` : 'All topics')));
}

function groups(data) {
  const rows = (data?.groups ?? []).map((g) => ({ key: `g${g.name}`, cells: [
    h('a', { href: groupPath(g.name) }, visible(g.name)), count(g.lag), memberText(g), time(g.committed_at)] }));
  return h('section', { class: 'panel', 'aria-labelledby': 'lagging' },
    h('h2', { id: 'lagging' }, 'Consumer groups by lag'),
    data && rows.length === 0
      ? empty('No consumer group has stored an offset.', 'A group appears after its first commit:', command('floe consume orders --group billing'))
      : table('Consumer groups by lag', [{ label: 'Group' }, { label: 'Lag', num: true }, { label: 'Members', num: true, cls: 'c2' }, { label: 'Last commit', cls: 'c2' }], rows, { cls: 'names' }),
    h('p', { class: 'more' }, h('a', { href: '/groups' }, data ? `All groups (${num(data.totals.groups)})` : 'All groups')));
}

const memberText = (g) => (g.members === null ? h('span', { class: 'muted', title: 'only shared groups have known members' }, '\u2013') : h('span', { title: plural(g.members, 'member') }, num(g.members)));
