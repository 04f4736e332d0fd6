// Resets the offsets of a group: a preview first, then the change.
import { h, fill } from '../dom.js';
import { post, groupApi } from '../api.js';
import { positionPicker } from '../position.js';
import { num, count, plural, visible } from '../format.js';
import { modal, field, options, errorBox, sortable, note, empty } from '../ui.js';

export function resetDialog(group, data, done) {
  modal(h('span', null, 'Reset offsets of ', visible(group)), (close) => {
    const topics = data.topics.length ? data.topics : [...new Set(data.partition_details.map((p) => p.topic))];
    const topic = h('select', { testid: 'reset-topic' }, options(topics.map((name) => [name, name]), topics[0]));
    const partition = h('select', { testid: 'reset-partition' });
    const to = positionPicker({ label: 'New position', kinds: ['beginning', 'end', 'offset', 'time', 'ago', 'newest'], value: 'beginning', testid: 'reset-to', onChange: () => stale() });
    const force = h('input', { type: 'checkbox', testid: 'reset-force' });
    const preview = h('div', { class: 'reset-result', 'aria-live': 'polite', testid: 'reset-changes' });
    const apply = h('button', { type: 'button', class: 'primary', disabled: true, testid: 'reset-apply' }, 'Apply');
    // Only the change that was previewed can be applied.
    const stale = () => { apply.disabled = true; fill(preview); };
    const fillPartitions = () => {
      const own = data.partition_details.filter((p) => p.topic === topic.value).map((p) => String(p.partition));
      fill(partition, options([['', `all ${own.length}`], ...own.map((p) => [p, p])], ''));
      stale();
    };
    topic.onchange = fillPartitions;
    partition.onchange = stale;
    fillPartitions();
    const request = (really) => ({ topic: topic.value, to: to.value(), apply: really, force: force.checked, ...(partition.value === '' ? {} : { partition: Number(partition.value) }) });
    const run = async (really) => {
      try {
        const answer = await post(groupApi(group, '/reset'), request(really));
        if (answer.applied) {
          close();
          note(h('p', null, `The offsets of ${plural(answer.changes.length, 'partition')} were reset.`));
          done();
          return;
        }
        fill(preview, changes(answer.changes));
        apply.disabled = answer.changes.length === 0;
      } catch (error) {
        fill(preview, errorBox(error));
      }
    };
    apply.onclick = () => run(true);
    const form = h('form', null, h('div', { class: 'row' }, field('Topic', topic), field('Partition', partition)), to.el,
      data.shared && data.members > 0 ? members(data, force) : null, preview,
      h('div', { class: 'actions' }, h('button', { type: 'button', onclick: close }, 'Cancel'), h('button', { type: 'submit', testid: 'reset-preview' }, 'Preview'), apply));
    form.oninput = (event) => { if (event.target !== force) stale(); };
    form.onsubmit = (event) => {
      event.preventDefault();
      run(false);
    };
    return form;
  }, 'wide');
}

function members(data, force) {
  return h('div', { class: 'warning' }, h('p', null, `The group is shared and has ${plural(data.members, 'member')}. They go on from their own positions and overwrite the reset unless it is forced.`),
    h('label', { class: 'check' }, force, 'Reset although the group has members'));
}

function changes(list) {
  if (list.length === 0) return empty('Nothing changes: the group is at this position already.');
  const effect = (c) => {
    if (c.records === null || c.records === undefined) return '';
    const n = Number(c.records);
    return n === 0 ? 'no change' : n < 0 ? [count(-n), ' come again'] : [count(n), ' are skipped'];
  };
  const cols = [{ label: 'Partition', num: true, by: (c) => c.partition }, { label: 'From', num: true, by: (c) => c.from }, { label: 'To', num: true, by: (c) => c.to }, { label: 'Records', num: true, by: (c) => c.records }];
  const sum = list.reduce((total, c) => total + Number(c.records ?? 0), 0);
  return [sortable('Changes', cols, list, (c) => ({ key: `${c.topic}/${c.partition}`, cells: [c.partition, c.from ?? 'none', c.to, effect(c)] })),
    h('p', { class: 'muted' }, sum < 0 ? `${num(-sum)} records come again in total.` : sum > 0 ? `${num(sum)} records are skipped in total.` : 'No records are skipped or repeated in total.')];
}

