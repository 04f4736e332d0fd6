// The permalink of one record.
import { h, fill } from '../dom.js';
import { get, topicApi, isAbort } from '../api.js';
import { topicPath, recordPath, navigate } from '../router.js';
import { visible } from '../format.js';
import { title, errorBox, empty } from '../ui.js';
import { screenKeys } from '../keys.js';
import { recordView } from './panel.js';

const step = (offset, by) => String(BigInt(offset) + BigInt(by));

export default function mount({ root, params, signal }) {
  const { topic, partition, offset } = params;
  title(`${topic} ${partition}/${offset}`);
  const numbers = /^\d{1,19}$/.test(offset) && /^\d{1,10}$/.test(partition);
  const head = [
    h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('a', { href: '/topics' }, 'Topics'), h('span', { 'aria-hidden': 'true' }, ' / '),
      h('a', { href: topicPath(topic) }, visible(topic)), h('span', { 'aria-hidden': 'true' }, ' / ')),
    h('div', { class: 'page-head' }, h('h1', { class: 'num' }, `Partition ${partition}, offset ${offset}`), numbers ? neighbours(topic, partition, offset) : null),
  ];
  if (!numbers) {
    fill(root, head.at(0), h('h1', null, 'No such record'), empty('Partition and offset are whole numbers.', h('p', null, h('a', { href: topicPath(topic) }, 'Go to the topic'))));
    return;
  }
  screenKeys.escape = () => navigate(topicPath(topic));
  const body = h('div', { class: 'panel detail-page', testid: 'detail' }, h('p', { class: 'muted' }, 'Loading'));
  fill(root, head, body);
  load(body, topic, partition, offset, signal);
}

function neighbours(topic, partition, offset) {
  const at = (other) => recordPath({ topic, partition, offset: other });
  return h('nav', { class: 'actions', 'aria-label': 'Neighbours' },
    offset === '0' ? null : h('a', { class: 'button small', href: at(step(offset, -1)), rel: 'prev' }, 'Offset before'),
    h('a', { class: 'button small', href: at(step(offset, 1)), rel: 'next' }, 'Offset after'),
    h('a', { class: 'button small', href: `${topicPath(topic, 'messages')}?from=${offset}&partitions=${partition}` }, 'Messages from here'));
}

async function load(body, topic, partition, offset, signal) {
  try {
    fill(body, recordView(await get(topicApi(topic, `/records/${partition}/${offset}`), null, signal)));
  } catch (error) {
    if (isAbort(error)) return;
    fill(body, errorBox(error, () => load(body, topic, partition, offset, signal)),
      error.code === 'offset_out_of_range' ? empty('The record was deleted by the retention, or does not exist yet.', h('p', null, h('a', { href: topicPath(topic, 'partitions') }, 'See the offsets of the partitions'))) : null);
  }
}
