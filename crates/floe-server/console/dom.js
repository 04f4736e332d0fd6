// Elements from data. Every string becomes a text node, so no record, name or error can become markup.

const SVG = 'http://www.w3.org/2000/svg';
const AS_PROPERTY = new Set(['value', 'checked', 'disabled', 'selected', 'indeterminate', 'readOnly']);

export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  add(node, children);
  // Properties follow the children: the value of a <select> needs its options.
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (name.startsWith('on')) {
    node[name] = value;
    (node.handlers ??= {})[name] = value;
  } else if (AS_PROPERTY.has(name)) node[name] = value;
  else if (name === 'testid') node.setAttribute('data-testid', value);
  else if (name === 'href') {
    if (isLocal(value)) node.setAttribute('href', value);
  } else if (value === true) node.setAttribute(name, '');
  else if (value !== false) node.setAttribute(name, String(value));
}

// Links lead to this console only, whatever the server or a record put into them.
export function isLocal(href) {
  // The usual path; parsing every one of them as a URL would be slow in long tables.
  if (/^\/[\w]/.test(href)) return true;
  try {
    const url = new URL(href, location.href);
    return url.origin === location.origin && (url.protocol === 'http:' || url.protocol === 'https:');
  } catch {
    return false;
  }
}

function add(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === true) continue;
    if (Array.isArray(child)) add(node, child);
    else node.append(child instanceof Node ? place(child) : String(child));
  }
}

/** An owned node that is shown stays where it is, since a move would take the focus from it: a mark keeps its new place. */
function place(child) {
  if (!child.owned || !child.isConnected) return child;
  const mark = document.createComment('');
  mark.standsFor = child;
  return mark;
}

/** Puts the owned nodes below `node` into their new places. */
function settle(node) {
  const marks = document.createTreeWalker(node, NodeFilter.SHOW_COMMENT);
  const found = [];
  while (marks.nextNode()) if (marks.currentNode.standsFor) found.push(marks.currentNode);
  for (const mark of found) mark.replaceWith(mark.standsFor);
  return node;
}

export function fragment(...children) {
  const into = document.createDocumentFragment();
  add(into, children);
  return into;
}

/** Makes `node` hold `children`, and keeps the nodes that are there already: focus, scroll and selection survive. */
export function render(node, ...children) {
  patchChildren(node, fragment(children));
}

/** Replaces without keeping anything. */
export function fill(node, ...children) {
  node.replaceChildren(settle(fragment(children)));
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A node that looks after itself (a chart): render() puts it in its place and leaves its inside alone. */
export function own(node) {
  node.owned = true;
  return node;
}

function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  patchAttributes(old, fresh);
  for (const name of Object.keys({ ...old.handlers, ...fresh.handlers })) old[name] = fresh.handlers?.[name] ?? null;
  old.handlers = fresh.handlers;
  if ('disabled' in old && old.disabled !== fresh.disabled) old.disabled = fresh.disabled;
  patchChildren(old, fresh);
}

function patchAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // The user opens and closes these.
    if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  }
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null);

function fits(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh)
    && !old.owned && !fresh.owned;
}

function patchChildren(parent, fresh) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (keyOf(node) !== null) keyed.set(keyOf(node), node);
  let at = parent.firstChild;
  for (const made of [...fresh.childNodes]) {
    const want = made.standsFor ?? made;
    if (want === at) {
      at = at.nextSibling;
      continue;
    }
    const key = keyOf(want);
    const found = key === null ? at : keyed.get(key);
    if (found && found !== want && fits(found, want)) {
      if (found !== at) parent.insertBefore(found, at);
      else at = at.nextSibling;
      patch(found, want);
    } else parent.insertBefore(settle(want), at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
