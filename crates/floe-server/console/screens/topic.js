// One topic: the head with its figures, and a tab below.
import { h, render, own, fill } from '../dom.js';
import { get, poll, topicApi, isAbort, isOffline } from '../api.js';
import { topicPath, lettersPath } from '../router.js';
import { can, readOnly } from '../state.js';
import { count, size, rate, visible, num, plural } from '../format.js';
import { title, errorBox, status, empty, command, shell } from '../ui.js';
import messages from './messages.js';
import { partitions, settings, groups } from './topic-tabs.js';
import sendTab from './send.js';
import { remember, forget } from '../unlisted.js';

const TABS = [
  { id: 'messages', label: 'Messages', mount: messages, needs: 'offsets' },
  { id: 'partitions', label: 'Partitions', mount: partitions, needs: 'offsets' },
  { id: 'settings', label: 'Settings', mount: settings },
  { id: 'groups', label: 'Groups', mount: groups, needs: 'offsets' },
  { id: 'send', label: 'Send', mount: sendTab },
];

export default function mount({ root, params, query, signal }) {
  const { topic } = params;
  const body = own(h('div', { class: 'tab-body' }));
  const view = { topic, detail: null, error: null, tab: null, pane: null, left: null };
  const draw = () => render(root, content(view, body));
  const load = async () => {
    try {
      view.detail = await get(topicApi(topic), null, signal);
      view.error = null;
      if (!can('list_topics')) remember(topic);
    } catch (error) {
      if (isAbort(error)) return;
      view.error = isOffline(error) && view.detail ? null : error;
      if (error.code === 'topic_not_found' && !can('list_topics')) forget(topic);
    }
    draw();
    view.pane?.refresh?.(view.detail);
  };
  view.reload = load;
  open(view, body, params, query, signal, draw);
  poll(load, 5000, signal);
  return { update: (next) => open(view, body, next.params, next.query, signal, draw) };
}

function open(view, body, params, query, signal, draw) {
  const offered = TABS.filter((tab) => !tab.needs || can(tab.needs));
  // Where records cannot be looked at, sending is what is left to do.
  const first = can('offsets') || readOnly() ? offered[0] : offered.at(-1);
  const tab = params.tab ? offered.find((t) => t.id === params.tab) : first;
  // The same tab again (a link to another search) starts it anew as well.
  view.left?.abort();
  view.left = new AbortController();
  signal.addEventListener('abort', () => view.left.abort(), { once: true });
  view.tab = tab?.id ?? params.tab;
  title(`${view.topic} ${tab?.label ?? ''}`);
  const root = h('div');
  fill(body, root);
  view.pane = tab ? tab.mount({ root, topic: view.topic, detail: view.detail, query, signal: view.left.signal, reload: view.reload }) : null;
  if (!tab) fill(root, TABS.some((t) => t.id === params.tab) ? withoutOffsets() : empty('This topic has no such page.', h('p', null, h('a', { href: topicPath(view.topic) }, 'Go to the topic'))));
  draw();
  if (view.detail) view.pane?.refresh?.(view.detail);
}

const withoutOffsets = () => empty('This engine stores no offsets.', 'Reading from it takes records away from the consumers, so the console does not offer it. Records can be sent.');

function content(view, body) {
  const { topic, detail, error } = view;
  const gone = error?.code === 'topic_not_found';
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('a', { href: '/topics' }, 'Topics'), h('span', { 'aria-hidden': 'true' }, ' / ')),
    h('div', { class: 'page-head' }, h('h1', { class: 'name' }, visible(topic)), figures(detail)),
    h('div', { class: 'slot-error' }, error ? errorBox(error) : null,
      gone ? empty('The topic may have been deleted, or never existed.', command(`floe topic create ${shell(topic)}`)) : null),
    detail?.damage.length ? damage(detail) : null,
    gone ? null : [tabs(view), can('offsets') ? null
      : h('p', { class: 'muted lead' }, 'This engine stores no offsets. Reading takes records away from the consumers, so messages and consumer groups are not offered here.'), body],
  ];
}

const known = (value) => value !== null && value !== undefined;

function figures(d) {
  return h('p', { class: 'head-note num' }, d ? [
    plural(d.partitions, 'partition'),
    known(d.records) ? [' \u00b7 ', count(d.records), ' records'] : null,
    known(d.bytes) ? [' \u00b7 ', size(d.bytes)] : null,
    known(d.records_per_second) ? [' \u00b7 ', rate(d.records_per_second)] : null] : '\u00a0',
  d?.dead_letters && can('offsets') ? [' \u00b7 ', h('a', { href: lettersPath(d.name) }, 'dead letters')] : null);
}

function damage(d) {
  return h('section', { class: 'panel attention', 'aria-label': 'Damage' }, h('h2', null, 'Damage'),
    h('ul', null, d.damage.map((text) => h('li', { class: 'fail' }, status('fail', visible(text))))));
}

function tabs(view) {
  return h('nav', { class: 'tabs', 'aria-label': 'Topic' }, TABS.map((tab) => {
    if (tab.needs && !can(tab.needs)) return null;
    const n = view.detail && tab.id === 'groups' ? view.detail.groups.length : view.detail && tab.id === 'partitions' ? view.detail.partitions : null;
    return h('a', { href: topicPath(view.topic, tab.id), testid: `tab-${tab.id}`, 'aria-current': view.tab === tab.id ? 'page' : null }, tab.label,
      n === null ? null : h('span', { class: 'n' }, num(n)));
  }));
}
