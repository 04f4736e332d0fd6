// One consumer group: lag, partitions, members.
import { h, render, own } from '../dom.js';
import { get, remove, poll, groupApi, isAbort, isOffline } from '../api.js';
import { navigate, topicPath } from '../router.js';
import { can, readOnly } from '../state.js';
import { lineChart, sparkline } from '../charts.js';
import { count, num, visible, plural, duration, NONE } from '../format.js';
import { serverNow } from '../state.js';
import { time } from '../times.js';
import { title, sortable, empty, errorBox, tag, deleteDialog, note, readOnlyNote } from '../ui.js';
import { resetDialog } from './reset.js';

export default function mount({ root, params, signal }) {
  const { group } = params;
  title(group);
  const chart = lineChart({ title: 'Lag of all partitions', unit: ' records', format: num });
  own(chart.el);
  const view = { group, data: null, error: null, load: null };
  const draw = () => render(root, content(view, chart));
  view.load = async () => {
    try {
      view.data = await get(groupApi(group), null, signal);
      view.error = null;
      chart.update({ values: view.data.lag_history ?? [], step: view.data.lag_step_seconds ?? 5, end: serverNow(), slots: 180, empty: 'the lag is not known' });
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.data ? null : error;
    }
    draw();
  };
  draw();
  poll(view.load, 5000, signal);
}

function content(view, chart) {
  const { group, data, error } = view;
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('a', { href: '/groups' }, 'Consumer groups'), h('span', { 'aria-hidden': 'true' }, ' / ')),
    h('div', { class: 'page-head' }, h('h1', { class: 'name' }, visible(group)), figures(data), actions(view)),
    h('div', { class: 'slot-error' }, error ? errorBox(error) : null),
    chart.el,
    h('h2', null, 'Partitions'), partitions(data),
    data ? members(data) : null,
  ];
}

function figures(data) {
  return h('p', { class: 'head-note num' }, data ? ['lag ', count(data.lag), ' \u00b7 ', plural(data.partitions, 'partition'),
    data.members === null ? null : [' \u00b7 ', plural(data.members, 'member')], ' \u00b7 last commit ', time(data.committed_at), data.shared ? [' ', tag('shared')] : null] : '\u00a0');
}

function actions(view) {
  if (!view.data) return null;
  if (readOnly()) return readOnlyNote('Read-only: offsets cannot be changed here');
  return h('div', { class: 'actions' },
    can('commit_offsets') ? h('button', { type: 'button', testid: 'reset-open', onclick: () => resetDialog(view.group, view.data, view.load) }, 'Reset offsets') : null,
    h('button', { type: 'button', class: 'danger', testid: 'delete-group', onclick: () => deleteDialog('group', view.group, 'The stored offsets of the group are deleted. Its consumers start again where they are told to, by default at the beginning.',
      () => remove(groupApi(view.group)), () => {
        note(h('p', null, 'Deleted group ', visible(view.group)));
        navigate('/groups');
      }) }, 'Delete group'));
}

function partitions(data) {
  const shared = data?.shared;
  const cols = [{ label: 'Topic', by: (p) => p.topic }, { label: 'Partition', num: true, by: (p) => p.partition }, { label: 'Next offset', num: true, cls: 'c1' }, { label: 'High watermark', num: true, cls: 'c2' }, { label: 'Lag', num: true, by: (p) => p.lag },
    { label: 'Lag, 15 min', cls: 'c2' }, ...(shared ? [{ label: 'Member', cls: 'c3', by: (p) => p.instance ?? p.member }] : []), { label: 'Committed', cls: 'c3', by: (p) => p.committed_at }];
  const row = (p) => ({ key: `${p.topic}/${p.partition}`, cells: [
    h('a', { href: topicPath(p.topic) }, visible(p.topic)), p.partition, p.next_offset === null ? h('span', { class: 'muted' }, 'none') : p.next_offset, p.high_watermark, lag(p),
    p.lag_history ? sparkline(p.lag_history, `lag of partition ${p.partition}`) : NONE, ...(shared ? [owner(p)] : []), time(p.committed_at)] });
  const details = data?.partition_details ?? [];
  if (data && details.length === 0) return empty('The group has no partitions.', 'It has stored no offset yet.');
  return sortable(`Partitions of the group ${data?.name ?? ''}`, cols, details, row, { cls: 'names' });
}

// Retention can delete records before the group reads them.
function lag(p) {
  const behind = p.next_offset !== null && BigInt(p.next_offset) < BigInt(p.start_offset);
  return [count(p.lag), behind ? [' ', h('span', { class: 'tag warn', title: `the records from ${p.next_offset} to ${p.start_offset} were deleted before the group read them` }, 'behind start')] : null];
}

function owner(p) {
  if (p.member === null) return h('span', { class: 'muted' }, 'none');
  return [visible(p.instance ?? p.member), p.moves_to ? h('span', { class: 'muted' }, ' moves to ', visible(p.moves_to)) : null];
}

function members(data) {
  if (!data.shared) return h('p', { class: 'muted' }, 'This group is not shared: its consumers are not registered, so the members are not known.');
  if (data.members_detail.length === 0) {
    return [h('h2', null, 'Members'), empty('No member is connected.', 'Lag grows until a consumer of the group starts.')];
  }
  const cols = [{ label: 'Member', by: (m) => m.id }, { label: 'Instance', cls: 'c2', by: (m) => m.instance }, { label: 'Topics', cls: 'c3', by: (m) => m.topics.join(' ') },
    { label: 'Partitions', num: true, by: (m) => m.partitions }, { label: 'Session', num: true, cls: 'c1', by: (m) => m.session_ms }, { label: 'Heard', by: (m) => m.heard_at }];
  return [h('h2', null, 'Members'), sortable(`Members of the group ${data.name}`, cols, data.members_detail, (m) => ({ key: m.id, cells: [
    h('span', { class: 'mono' }, visible(m.id)), m.instance === null ? NONE : visible(m.instance), m.topics.map((t, i) => [i ? ', ' : '', visible(t)]), num(m.partitions), duration(m.session_ms / 1000), time(m.heard_at)] }))];
}
