// The HTTP API: requests, errors, and streams of server-sent events.
import { stringEnd } from './json.js';

const BASE = '/api/v1';
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d{16,}$/;

/** JSON in which integers above 2^53 (offsets) become strings of digits instead of losing their last digits. */
export function parseJson(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const quote = (token) => (INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token);
  const parts = [];
  for (let at = 0; at < text.length;) {
    const string = text.indexOf('"', at);
    parts.push(text.slice(at, string < 0 ? text.length : string).replace(NUMBER, quote));
    if (string < 0) break;
    at = stringEnd(text, string);
    parts.push(text.slice(string, at));
  }
  return JSON.parse(parts.join(''));
}

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.hint = error.hint ?? null;
    this.causes = error.causes ?? [];
    this.position = error.position ?? null;
    this.topic = error.topic ?? null;
    this.partition = error.partition ?? null;
  }
}

export const isAbort = (error) => error?.name === 'AbortError';
export const isOffline = (error) => error?.code === 'offline';

// "." and ".." are folded away by every URL parser, so a request would reach another resource.
/** A name as a part of an address. Browsers take `.` and `..` out of addresses, so a `~` in front marks such names. */
export function segment(name) {
  const text = String(name);
  if (text === '') throw new ApiError(400, { code: 'unaddressable', message: 'an empty name cannot be part of an address', hint: null });
  return encodeURIComponent(text === '.' || text === '..' || text[0] === '~' ? `~${text}` : text);
}

/** The name that a part of an address stands for. */
export const nameOf = (part) => (part[0] === '~' ? part.slice(1) : part);

export const topicApi = (topic, rest = '') => `/topics/${segment(topic)}${rest}`;
export const groupApi = (group, rest = '') => `/groups/${segment(group)}${rest}`;

export function apiUrl(path, query) {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return `${BASE}${path}${search ? `?${search}` : ''}`;
}

const listeners = { offline: [], online: [], login: [] };
export const on = (event, listener) => listeners[event].push(listener);
const tell = (event) => listeners[event].forEach((listener) => listener());

async function send(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', cache: 'no-store', redirect: 'error', ...options });
  } catch (error) {
    if (isAbort(error)) throw error;
    tell('offline');
    throw new ApiError(0, { code: 'offline', message: 'the console server does not answer', hint: 'The page tries again by itself.' });
  }
  tell('online');
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  let error = null;
  try {
    error = parseJson(await response.text()).error;
  } catch { /* a proxy answered, not floe */ }
  error ??= { code: `http_${response.status}`, message: `the server answered with status ${response.status}` };
  if (response.status === 401 && error.code === 'login_required') tell('login');
  return new ApiError(response.status, error);
}

async function body(response) {
  const text = await response.text();
  return text === '' ? null : parseJson(text);
}

export const get = async (path, query, signal) => body(await send(apiUrl(path, query), { signal }));

const change = async (method, path, data, signal) => body(await send(apiUrl(path), {
  method,
  signal,
  headers: { 'Content-Type': 'application/json' },
  body: data === undefined ? undefined : JSON.stringify(data),
}));

export const post = (path, data = {}, signal) => change('POST', path, data, signal);
export const remove = (path, signal) => change('DELETE', path, undefined, signal);

/** Calls `run` now and every `ms`, one call at a time, not while the page is hidden; `wake` events run it early. */
export function poll(run, ms, signal) {
  let timer = 0;
  let busy = false;
  const tick = async () => {
    clearTimeout(timer);
    if (busy || signal.aborted) return;
    busy = true;
    try {
      if (!document.hidden) await run();
    } finally {
      busy = false;
      if (!signal.aborted) timer = setTimeout(tick, ms);
    }
  };
  const early = () => { if (!document.hidden) tick(); };
  document.addEventListener('visibilitychange', early, { signal });
  document.addEventListener('floe:online', early, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  tick();
  return tick;
}

const nextTask = () => new Promise((resolve) => {
  const channel = new MessageChannel();
  channel.port1.onmessage = resolve;
  channel.port2.postMessage(null);
});

/** Reads server-sent events until the server closes. fetch instead of EventSource: it tells the error of a refused
 *  request, and a slow page slows the server down instead of filling the memory of the browser. */
export async function events(path, query, { signal, lastId, onOpen, onEvent }) {
  const headers = { Accept: 'text/event-stream' };
  if (lastId) headers['Last-Event-ID'] = lastId;
  const response = await send(apiUrl(path, query), { signal, headers });
  onOpen?.();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let since = performance.now();
  for (;;) {
    const { done, value } = await reader.read().catch(broken);
    if (done) return;
    rest = dispatch(rest + decoder.decode(value, { stream: true }), onEvent);
    // A fast stream must leave time for input and painting.
    if (performance.now() - since > 10) {
      await nextTask();
      since = performance.now();
    }
  }
}

function broken(error) {
  if (isAbort(error)) throw error;
  throw new ApiError(0, { code: 'stream_broken', message: 'the connection broke off during the transfer' });
}

function dispatch(text, onEvent) {
  const input = text.includes('\r') ? text.replace(/\r\n/g, '\n') : text;
  let from = 0;
  for (let end = input.indexOf('\n\n', from); end >= 0; end = input.indexOf('\n\n', from)) {
    const event = parseEvent(input.slice(from, end));
    if (event) onEvent(event);
    from = end + 2;
  }
  return from ? input.slice(from) : input;
}

function parseEvent(block) {
  const event = { name: 'message', id: null, data: null };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    const field = line.slice(0, colon);
    if (field === 'event') event.name = value;
    else if (field === 'id') event.id = value;
    else if (field === 'data') event.data = event.data === null ? value : `${event.data}\n${value}`;
  }
  return event.data === null ? null : event;
}
