// Addresses to screens, with the history of the browser.
import { segment, nameOf } from './api.js';

const routes = [];
let current = null;
let show = () => {};

export const route = (pattern, screen, key) => routes.push({ parts: pattern.split('/').filter(Boolean), screen, key });
export const onRoute = (handler) => { show = handler; };

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

function match(pathname) {
  const parts = pathname.split('/').filter(Boolean).map(decode);
  if (parts.includes(null)) return null;
  for (const candidate of routes) {
    if (candidate.parts.length !== parts.length) continue;
    const params = {};
    const fits = candidate.parts.every((part, i) => {
      if (part[0] !== ':') return part === parts[i];
      params[part.slice(1)] = nameOf(parts[i]);
      return true;
    });
    if (fits) return { ...candidate, params };
  }
  return null;
}

function go(moved) {
  const found = match(location.pathname);
  current = { found, query: new URLSearchParams(location.search), moved };
  show(current);
}

export function navigate(path, { replace = false, state = null } = {}) {
  history[replace ? 'replaceState' : 'pushState'](state, '', path);
  go(true);
}

/** Changes the query in place: the screen stays, the address can be copied. */
export function setQuery(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, value);
  }
  const search = query.toString();
  history.replaceState(history.state, '', location.pathname + (search ? `?${search}` : ''));
  if (current) current.query = query;
}

export function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.('a[href]');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname.startsWith('/api/') || link.getAttribute('href').startsWith('#')) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}

export function startRouter() {
  document.addEventListener('click', follow);
  window.addEventListener('popstate', () => go(false));
  go(false);
}

function safe(build) {
  try {
    return build();
  } catch {
    return null;
  }
}

// A name that no address can hold has no link.
export const topicPath = (name, tab = '') => safe(() => `/topics/${segment(name)}${tab ? `/${tab}` : ''}`);
export const recordPath = (record) => safe(() => `/topics/${segment(record.topic)}/${record.partition}/${record.offset}`);
export const groupPath = (name) => safe(() => `/groups/${segment(name)}`);
export const lettersPath = (name) => safe(() => `/dead-letters/${segment(name)}`);
