// Starts the console: session, screens, banner, theme.
import { h, fill, render } from './dom.js';
import { get, post, on, isAbort, isOffline } from './api.js';
import { route, onRoute, startRouter, navigate } from './router.js';
import { state, setInfo, stored, store, readOnly, can } from './state.js';
import { refreshTimes, toggleTimes, timesAreAbsolute } from './times.js';
import { startKeys, clearScreenKeys, helpDialog } from './keys.js';
import { empty, errorBox, announce, noteError, title } from './ui.js';
import { plain, visible } from './format.js';

const main = document.getElementById('main');
const byTopic = (params) => params.topic;

const load = {
  overview: () => import('./screens/overview.js'),
  topics: () => import('./screens/topics.js'),
  topic: () => import('./screens/topic.js'),
  record: () => import('./screens/record.js'),
  groups: () => import('./screens/groups.js'),
  group: () => import('./screens/group.js'),
  letters: () => import('./screens/letters.js'),
  server: () => import('./screens/server.js'),
  login: () => import('./screens/login.js'),
};

route('/', { load: load.overview, nav: 'overview' });
route('/topics', { load: load.topics, nav: 'topics' });
route('/topics/:topic', { load: load.topic, nav: 'topics', id: 'topic' }, byTopic);
route('/topics/:topic/:tab', { load: load.topic, nav: 'topics', id: 'topic' }, byTopic);
route('/topics/:topic/:partition/:offset', { load: load.record, nav: 'topics', needs: 'offsets' });
route('/groups', { load: load.groups, nav: 'groups', needs: 'offsets' });
route('/groups/:group', { load: load.group, nav: 'groups', needs: 'offsets' });
route('/dead-letters', { load: load.letters, nav: 'dead-letters', needs: 'offsets' });
route('/dead-letters/:topic', { load: load.letters, nav: 'dead-letters', needs: 'offsets' });
route('/server', { load: load.server, nav: 'server' });
route('/login', { load: load.login, nav: '', open: true });

let screen = null;
let turn = 0;

async function show({ found, query, moved }) {
  const id = found?.screen.id;
  const same = screen?.view?.update && id && screen.id === id && found.key?.(found.params) === screen.key;
  markNav(found?.screen.nav);
  if (same) {
    screen.view.update({ params: found.params, query });
    return;
  }
  screen?.leaving.abort();
  clearScreenKeys();
  const mine = turn += 1;
  const next = { id, key: found?.key?.(found.params), leaving: new AbortController(), view: null };
  screen = next;
  if (found && !found.screen.open && !await ready(mine)) return;
  if (mine !== turn) return;
  const root = h('div', { class: 'screen' });
  if (!found) notFound(root);
  else if (found.screen.needs && !can(found.screen.needs)) noOffsets(root);
  else {
    try {
      const module = await found.screen.load();
      if (mine !== turn) return;
      next.view = module.default({ root, params: found.params, query, signal: next.leaving.signal }) ?? {};
    } catch (error) {
      fill(root, errorBox(error, () => location.reload()));
    }
  }
  fill(main, root);
  if (!moved) return;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
  announce(document.title, true);
}

/** Facts about the server come first; without them no screen knows what it may offer. */
async function ready(mine) {
  while (!state.info) {
    try {
      setInfo(await get('/info'));
      showInfo();
    } catch (error) {
      if (mine !== turn || isAbort(error)) return false;
      if (error.code === 'login_required') return false;
      fill(main, isOffline(error) ? h('p', { class: 'loading' }, 'Waiting for the server') : errorBox(error));
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  return mine === turn;
}

function notFound(root) {
  title('Not found');
  fill(root, h('h1', null, 'Not found'), empty('No screen has this address.', h('p', null, h('a', { href: '/' }, 'Go to the overview'))));
}

function noOffsets(root) {
  title('Not available');
  fill(root, h('h1', null, 'Not available with this engine'),
    empty('This engine stores no offsets.', 'Reading from it takes records away from the consumers, so the console offers no messages, consumer groups or dead letters. Topics can be opened, and records can be sent.',
      h('p', null, h('a', { href: '/topics' }, 'Go to the topics'))));
}

function markNav(nav) {
  // Without a session the other screens would only lead back to the login.
  document.getElementById('nav').hidden = nav === '';
  for (const link of document.querySelectorAll('#nav a')) {
    if (link.dataset.nav === nav) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function showInfo() {
  const { info } = state;
  render(document.getElementById('engine'), info.url.startsWith(info.engine) ? null : [h('strong', null, plain(info.engine)), ' '], visible(info.url));
  document.getElementById('engine').title = plain(`${info.engine}, ${info.url}, floe ${info.version}`);
  document.getElementById('readonly').hidden = !readOnly();
  document.getElementById('logout').hidden = !info.login;
  for (const nav of ['groups', 'dead-letters']) document.querySelector(`[data-nav=${nav}]`).hidden = !can('offsets');
}

// ---- connection ----

let lost = false;

function offline() {
  if (lost) return;
  lost = true;
  const banner = document.getElementById('offline');
  fill(banner, 'The connection to the console server is lost. The page shows the last known state and tries again every 2 seconds.');
  banner.hidden = false;
  retry();
}

function retry() {
  // Any answer, also an error, means that the server is back; see online().
  setTimeout(() => { if (lost) get('/info').then(setInfo).catch(() => {}).finally(() => { if (lost) retry(); }); }, 2000);
}

function online() {
  if (!lost) return;
  lost = false;
  document.getElementById('offline').hidden = true;
  announce('The connection is back', true);
  document.dispatchEvent(new Event('floe:online'));
}

function login() {
  if (location.pathname === '/login') return;
  state.info = null;
  navigate(`/login?next=${encodeURIComponent(location.pathname + location.search)}`, { replace: true });
}

// ---- header ----

function theme() {
  const order = ['system', 'light', 'dark'];
  const button = document.getElementById('theme');
  const read = () => stored('theme') ?? document.documentElement.dataset.theme ?? 'system';
  const label = () => {
    const now = read();
    const next = order[(order.indexOf(now) + 1) % 3];
    button.title = `Theme: ${now}`;
    button.setAttribute('aria-label', `Theme: ${now}. Switch to ${next}`);
  };
  button.onclick = () => {
    const next = order[(order.indexOf(read()) + 1) % 3];
    store('theme', next === 'system' ? null : next);
    if (next === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    label();
  };
  label();
}

function times() {
  const button = document.getElementById('times');
  const label = () => {
    const text = `Times: ${timesAreAbsolute() ? 'absolute' : 'relative'}`;
    button.title = text;
    button.setAttribute('aria-label', `${text}. Switch to ${timesAreAbsolute() ? 'relative' : 'absolute'}`);
  };
  button.onclick = () => {
    toggleTimes();
    label();
  };
  label();
  setInterval(() => { if (!document.hidden) refreshTimes(); }, 5000);
}

async function logout() {
  try {
    await post('/logout');
    state.info = null;
    navigate('/login');
  } catch (error) {
    noteError(error);
  }
}

on('offline', offline);
on('online', online);
on('login', login);
onRoute(show);
theme();
times();
document.getElementById('help').onclick = helpDialog;
document.getElementById('logout').onclick = logout;
document.querySelector('.skip').onclick = (event) => {
  event.preventDefault();
  main.focus();
};
startKeys();
startRouter();
