// The list of consumer groups.
import { h, render, own } from '../dom.js';
import { get, poll, isAbort, isOffline } from '../api.js';
import { setQuery, groupPath, topicPath } from '../router.js';
import { count, num, visible, plural, NONE } from '../format.js';
import { time } from '../times.js';
import { title, table, empty, errorBox, command, tag, pager, debounce, announce } from '../ui.js';

const PAGE = 100;

export default function mount({ root, query, signal }) {
  title('Consumer groups');
  const view = { search: query.get('search') ?? '', sort: query.get('sort') ?? 'lag', order: query.get('order') ?? 'desc', skip: Number(query.get('skip')) || 0, data: null, error: null };
  const input = h('input', { type: 'search', id: 'group-search', value: view.search, 'data-search': true, autocomplete: 'off', spellcheck: 'false', testid: 'group-search', placeholder: 'part of a name' });
  const bar = own(h('div', { class: 'toolbar' }, h('div', { class: 'field grow' }, h('label', { for: 'group-search' }, 'Search groups'), input)));
  let calling = new AbortController();
  const load = async () => {
    calling.abort();
    calling = new AbortController();
    try {
      const { search, sort, order, skip } = view;
      view.data = await get('/groups', { search, sort, order, skip, limit: PAGE }, AbortSignal.any([signal, calling.signal]));
      view.error = null;
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  };
  const change = (values) => {
    Object.assign(view, values);
    setQuery({ search: view.search, sort: view.sort === 'lag' ? '' : view.sort, order: view.order === 'desc' ? '' : view.order, skip: view.skip || '' });
    return load();
  };
  const draw = () => render(root, content(view, bar, change));
  input.oninput = debounce(async () => {
    await change({ search: input.value.trim(), skip: 0 });
    if (view.data) announce(`${plural(view.data.total, 'group')} found`);
  }, 200);
  draw();
  poll(load, 5000, signal);
}

function content(view, bar, change) {
  const { data } = view;
  return [
    h('div', { class: 'page-head' }, h('h1', null, 'Consumer groups')), bar,
    h('div', { class: 'slot-error' }, view.error ? errorBox(view.error) : null),
    h('p', { class: 'muted counts' }, data ? [plural(data.total, 'group'), view.search ? ' found' : ''] : 'Loading'),
    data && data.groups.length === 0 ? nothing(view) : groupTable(data?.groups ?? [], view, change),
    data ? pager(view.skip, PAGE, data.total, (skip) => { change({ skip }); scrollTo(0, 0); }) : null,
  ];
}

function groupTable(groups, view, change) {
  const cols = [{ label: 'Group', sort: 'name' }, { label: 'Topics', cls: 'c2' }, { label: 'Partitions', num: true, cls: 'c3' },
    { label: 'Members', sort: 'members', num: true }, { label: 'Lag', sort: 'lag', num: true }, { label: 'Last commit', sort: 'age', cls: 'c2' }];
  const onSort = (by) => change({ sort: by, order: view.sort === by ? (view.order === 'asc' ? 'desc' : 'asc') : by === 'name' ? 'asc' : 'desc', skip: 0 });
  const rows = groups.map((g) => ({ key: `g${g.name}`, props: { testid: 'group-row' }, cells: [
    [h('a', { href: groupPath(g.name) }, visible(g.name)), g.shared ? [' ', tag('shared')] : null],
    topicLinks(g.topics), num(g.partitions), g.members === null ? h('span', { class: 'muted', title: 'only shared groups have known members' }, NONE) : num(g.members), count(g.lag), time(g.committed_at)] }));
  return table('Consumer groups', cols, rows, { sort: { by: view.sort, order: view.order }, onSort, cls: 'names' });
}

function topicLinks(topics) {
  return [topics.slice(0, 3).map((name, i) => [i ? ', ' : '', h('a', { href: topicPath(name, 'groups') }, visible(name))]),
    topics.length > 3 ? h('span', { class: 'muted' }, ` and ${topics.length - 3} more`) : null];
}

function nothing(view) {
  return view.search ? empty('No group has this in its name.')
    : empty('No consumer group has stored an offset.', 'A group appears after its first commit:', command('floe consume orders --group billing'), command('floe consume orders --group billing --shared'));
}
