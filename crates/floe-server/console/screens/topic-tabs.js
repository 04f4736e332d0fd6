// The tabs of a topic that show facts: partitions, settings, groups.
import { h, render, own } from '../dom.js';
import { post, remove, topicApi } from '../api.js';
import { navigate, topicPath, groupPath, recordPath } from '../router.js';
import { can, readOnly } from '../state.js';
import { lineChart } from '../charts.js';
import { showRates } from './overview.js';
import { count, size, visible, num, bytes, NONE } from '../format.js';
import { time } from '../times.js';
import { sortable, empty, command, shell, status, field, formDialog, deleteDialog, readOnlyNote, note, tag } from '../ui.js';

export function partitions({ root, topic, reload }) {
  const records = lineChart({ title: 'Records per second', unit: ' records/s', format: num });
  const sizes = lineChart({ title: 'Bytes per second', unit: '/s', format: bytes, base: 1024 });
  const charts = own(h('div', { class: 'charts' }, records.el, sizes.el));
  return { refresh: (detail) => {
    if (!detail) return;
    showRates(detail.rates, records, sizes);
    render(root, charts, h('div', { class: 'section-head' }, h('h2', null, 'Partitions'),
      readOnly() || !can('create_partitions') ? readOnlyNote() : h('button', { type: 'button', testid: 'add-partitions', onclick: () => addDialog(topic, detail, reload) }, 'Add partitions')),
    partitionTable(topic, detail.partition_details));
  } };
}

function partitionTable(topic, details) {
  const leaders = details.some((p) => p.leader !== null && p.leader !== undefined);
  const cols = [{ label: 'Partition', by: (p) => p.partition }, { label: 'Start offset', num: true, cls: 'c2', by: (p) => p.start_offset }, { label: 'High watermark', num: true, by: (p) => p.high_watermark },
    { label: 'Records', num: true, by: (p) => p.records }, { label: 'Size', num: true, cls: 'c1', by: (p) => p.size_bytes },
    ...(leaders ? [{ label: 'Leader', cls: 'c1', by: (p) => p.leader }, { label: 'Replicas', cls: 'c2', by: (p) => p.replicas?.length }] : [])];
  return sortable(`Partitions of ${topic}`, cols, details, (p) => ({ key: `p${p.partition}`, cells: p.error ? broken(p, cols.length, leaders) : [
    can('offsets') && Number(p.records) > 0
      ? h('a', { href: `${topicPath(topic, 'messages')}?partitions=${p.partition}`, 'aria-label': `messages of partition ${p.partition}` }, p.partition) : p.partition,
    link(topic, p, p.start_offset), p.high_watermark, count(p.records), size(p.size_bytes), ...(leaders ? servers(p) : [])] }));
}

const servers = (p) => [visible(p.leader ?? NONE), visible((p.replicas ?? []).join(', ') || NONE)];

const link = (topic, p, offset) => (Number(p.records) > 0 && can('offsets')
  ? h('a', { href: recordPath({ topic, partition: p.partition, offset }), 'aria-label': `oldest record of partition ${p.partition}, offset ${offset}` }, offset) : offset);

function broken(p, width, leaders) {
  const after = leaders ? servers(p) : [];
  return [p.partition, '', status('fail', visible(p.error.message)), ...Array(width - 3 - after.length).fill(''), ...after];
}

function addDialog(topic, detail, reload) {
  const total = h('input', { type: 'number', min: detail.partitions + 1, max: 100000, value: String(detail.partitions + 1), required: true, testid: 'topic-partitions' });
  formDialog('Add partitions', {
    fields: [h('p', null, `The topic has ${num(detail.partitions)} now. Existing records keep their partitions, so a key may map to another partition from then on. Partitions cannot be removed again.`), field('New number of partitions', total)],
    label: 'Add partitions',
    submit: () => post(topicApi(topic, '/partitions'), { partitions: Number(total.value) }),
    done: reload,
  });
}

export function settings({ root, topic }) {
  return { refresh: (detail) => {
    if (!detail) return;
    const facts = [['Created', time(detail.created_at)], ['Partitions', num(detail.partitions)], ...detail.settings.map((s) => [visible(s.name), visible(s.value)])];
    render(root, h('dl', { class: 'facts panel' }, facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value)))), danger(topic, detail));
  } };
}

function danger(topic, detail) {
  if (readOnly()) return readOnlyNote();
  if (!can('delete_topics')) return h('p', { class: 'muted' }, 'This engine cannot delete topics.');
  const consequence = h('span', null, 'The topic is deleted with all its records (', count(detail.records), ' in ', num(detail.partitions), ' partitions). This cannot be undone.');
  return h('section', { class: 'panel danger-zone', 'aria-labelledby': 'delete' }, h('h2', { id: 'delete' }, 'Delete this topic'),
    h('p', null, consequence.cloneNode(true)),
    h('button', { type: 'button', class: 'danger', testid: 'delete-topic', onclick: () => deleteDialog('topic', topic, consequence,
      () => remove(topicApi(topic)), () => {
        note(h('p', null, 'Deleted topic ', visible(topic)));
        navigate('/topics');
      }) }, 'Delete topic'));
}

export function groups({ root, topic }) {
  return { refresh: (detail) => {
    if (!detail) return;
    if (detail.groups.length === 0) {
      render(root, empty('No consumer group has stored an offset for this topic.', 'A group appears after its first commit:', command(`floe consume ${shell(topic)} --group billing`)));
      return;
    }
    const cols = [{ label: 'Group', by: (g) => g.group }, { label: 'Lag', num: true, by: (g) => g.lag }, { label: 'Members', num: true, cls: 'c1', by: (g) => g.members },
      { label: 'Kind', cls: 'c2' }, { label: 'Last commit', cls: 'c2', by: (g) => g.committed_at }];
    render(root, sortable('Groups that read this topic', cols, detail.groups, (g) => ({ key: `g${g.group}`, cells: [
      h('a', { href: groupPath(g.group) }, visible(g.group)), count(g.lag), g.members === null ? NONE : num(g.members),
      g.shared ? tag('shared') : 'plain', time(g.committed_at)] })));
  } };
}

