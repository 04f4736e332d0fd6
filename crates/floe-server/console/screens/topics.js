// The list of topics: searched, sorted and paged by the server, so that 10,000 of them cost what 100 do.
import { h, render, own, fill } from '../dom.js';
import { get, post, poll, isAbort, isOffline } from '../api.js';
import { setQuery, navigate, topicPath, lettersPath } from '../router.js';
import { can, readOnly, state } from '../state.js';
import { rate, count, size, visible, num, plural, duration } from '../format.js';
import { time } from '../times.js';
import { title, table, empty, errorBox, command, tag, pager, debounce, field, formDialog, announce, options } from '../ui.js';
import { unlisted } from '../unlisted.js';

const PAGE = 100;
const DESC_FIRST = new Set(['records', 'bytes', 'rate', 'created', 'partitions']);

export default function mount({ root, query, signal }) {
  title('Topics');
  if (!can('list_topics')) {
    fill(root, heading(), unlisted());
    return {};
  }
  const view = {
    search: query.get('search') ?? '', sort: query.get('sort') ?? 'name', order: query.get('order') ?? 'asc',
    skip: Math.max(0, parseInt(query.get('skip') ?? '0', 10) || 0), data: null, error: null,
  };
  const input = h('input', { type: 'search', id: 'topic-search', value: view.search, 'data-search': true, autocomplete: 'off', spellcheck: 'false', testid: 'topic-search', placeholder: 'part of a name' });
  const bar = own(h('div', { class: 'toolbar' }, h('div', { class: 'field grow' }, h('label', { for: 'topic-search' }, 'Search topics'), input)));
  let calling = new AbortController();
  const load = async () => {
    calling.abort();
    calling = new AbortController();
    const mine = calling;
    try {
      const { search, sort, order, skip } = view;
      const data = await get('/topics', { search, sort, order, skip, limit: PAGE }, AbortSignal.any([signal, mine.signal]));
      Object.assign(view, { data, error: null });
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  };
  const change = (values, replace = {}) => {
    Object.assign(view, values, replace);
    setQuery({ search: view.search, sort: view.sort === 'name' ? '' : view.sort, order: view.order === 'asc' ? '' : view.order, skip: view.skip || '' });
    return load();
  };
  const draw = () => render(root, content(view, bar, change));
  input.oninput = debounce(async () => {
    await change({ search: input.value.trim(), skip: 0 });
    if (view.data) announce(`${plural(view.data.total, 'topic')} found`);
  }, 200);
  draw();
  poll(load, 5000, signal);
}

function heading() {
  return h('div', { class: 'page-head' }, h('h1', null, 'Topics'), h('div', { class: 'actions' },
    readOnly() ? h('span', { class: 'muted' }, 'Read-only: no topics can be created here')
      : h('button', { type: 'button', class: 'primary', testid: 'create-topic', onclick: createDialog }, 'Create topic')));
}

function content(view, bar, change) {
  const onSort = (by) => {
    const order = view.sort === by ? (view.order === 'asc' ? 'desc' : 'asc') : DESC_FIRST.has(by) ? 'desc' : 'asc';
    change({ sort: by, order, skip: 0 });
  };
  const { data } = view;
  return [
    heading(),
    bar,
    h('div', { class: 'slot-error' }, view.error ? errorBox(view.error) : null),
    h('p', { class: 'muted counts' }, data ? [plural(data.total, 'topic'), view.search ? ' found' : '',
      data.stale_seconds >= 5 ? `, figures are ${duration(data.stale_seconds)} old` : ''] : 'Loading'),
    data && data.topics.length === 0 ? nothing(view, change) : topicTable(data?.topics ?? [], view, onSort),
    data ? pager(view.skip, PAGE, data.total, (skip) => { change({ skip }); scrollTo(0, 0); }) : null,
  ];
}

function topicTable(topics, view, onSort) {
  const cols = [
    { label: 'Topic', sort: 'name' }, { label: 'Partitions', sort: 'partitions', num: true, cls: 'c3' },
    { label: 'Records', sort: 'records', num: true }, { label: 'Size', sort: 'bytes', num: true, cls: 'c2' },
    { label: 'Rate', sort: 'rate', num: true, cls: 'c1' }, { label: 'Retention', cls: 'c4' }, { label: 'Created', sort: 'created', cls: 'c3' },
  ];
  const rows = topics.map((t) => ({ key: `t${t.name}`, props: { testid: 'topic-row' }, cells: [
    [h('a', { href: topicPath(t.name) }, visible(t.name)), marks(t)],
    num(t.partitions), count(t.records), size(t.bytes), rate(t.records_per_second), retention(t), time(t.created_at)] }));
  return table('Topics', cols, rows, { sort: { by: view.sort, order: view.order }, onSort, cls: 'names' });
}

function marks(t) {
  return [
    t.damage.length ? [' ', tag(plural(t.damage.length, 'finding'), 'fail')] : null,
    t.dead_letters && can('offsets') ? [' ', h('a', { class: 'tag', href: lettersPath(t.name) }, 'dead letters')] : null,
  ];
}

export function retention(t) {
  const parts = [];
  if (t.retention_age_ms !== null && t.retention_age_ms !== undefined) parts.push(duration(t.retention_age_ms / 1000));
  if (t.retention_bytes !== null && t.retention_bytes !== undefined) parts.push(size(t.retention_bytes));
  return parts.length ? parts.flatMap((part, i) => (i ? [', ', part] : [part])) : h('span', { class: 'muted' }, 'no limit');
}

function nothing(view, change) {
  if (view.search) {
    return empty('No topic has this in its name.', h('p', null, h('button', { type: 'button', onclick: () => {
      document.getElementById('topic-search').value = '';
      change({ search: '', skip: 0 });
    } }, 'Clear the search')));
  }
  return empty('No topic exists yet.', readOnly() ? 'Topics appear here when a program creates them.' : 'Create one here or with the command line:',
    command('floe topic create orders --partitions 3'), command('floe produce orders'));
}

const AGE = [['', 'no limit'], ['3600000', '1 hour'], ['86400000', '1 day'], ['604800000', '7 days'], ['2592000000', '30 days'], ['31536000000', '365 days']];
const SIZES = [['', 'no limit'], ['67108864', '64 MiB'], ['1073741824', '1 GiB'], ['10737418240', '10 GiB'], ['107374182400', '100 GiB']];

function createDialog() {
  const name = h('input', { type: 'text', required: true, maxlength: 63, pattern: '[a-z0-9]([a-z0-9\\-]*[a-z0-9])?', autocomplete: 'off', spellcheck: 'false', testid: 'topic-name', title: '1 to 63 characters of a-z, 0-9 and -, not at the start or end' });
  const partitions = h('input', { type: 'number', min: 1, max: 100000, value: '1', required: true, testid: 'topic-partitions' });
  const replication = h('input', { type: 'number', min: 1, max: 100, value: '1' });
  const age = h('select', null, options(AGE, ''));
  const bytes = h('select', null, options(SIZES, ''));
  const cluster = state.info.engine === 'fluvio';
  formDialog('Create topic', {
    fields: [
      field('Name', name, '1 to 63 characters of a-z, 0-9 and -'),
      can('create_partitions') ? h('div', { class: 'row' }, field('Partitions', partitions), cluster ? field('Replication', replication) : null) : null,
      can('offsets') ? h('div', { class: 'row' }, field('Keep records for', age), field('Keep per partition', bytes)) : null,
    ],
    label: 'Create topic',
    submit: () => post('/topics', {
      name: name.value, partitions: Number(partitions.value),
      ...(cluster ? { replication: Number(replication.value) } : {}),
      ...(age.value ? { retention_age_ms: Number(age.value) } : {}),
      ...(bytes.value ? { retention_bytes: Number(bytes.value) } : {}),
    }),
    done: (topic) => navigate(topicPath(topic.name, can('offsets') ? 'partitions' : 'send')),
  });
}
