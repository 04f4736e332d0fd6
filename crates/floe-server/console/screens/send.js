// Sends one record.
import { h, fill } from '../dom.js';
import { post, topicApi, isAbort } from '../api.js';
import { recordPath } from '../router.js';
import { can, readOnly } from '../state.js';
import { readJson, pretty } from '../json.js';
import { bytes } from '../format.js';
import { byteLength, toBase64 } from '../bytes.js';
import { field, errorBox, options, readOnlyNote, debounce, announce } from '../ui.js';

const ENCODINGS = [['text', 'text'], ['b64', 'base64']];

export default function mount({ root, topic, detail, signal }) {
  if (readOnly()) {
    fill(root, readOnlyNote('This console is read-only: it sends no records.'));
    return null;
  }
  const form = parts(history.state?.record);
  const result = h('div', { role: 'status', class: 'send-result', testid: 'send-result' });
  const submit = h('button', { type: 'submit', class: 'primary', testid: 'send-submit' }, 'Send record');
  const el = h('form', { class: 'send panel' }, form.content, h('div', { class: 'actions' }, submit, h('span', { class: 'muted c1' }, 'Ctrl+Enter sends')), result);
  el.onkeydown = (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) el.requestSubmit(); };
  el.onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const sent = await post(topicApi(topic, '/records'), form.read(), signal);
      fill(result, stored(sent));
    } catch (error) {
      if (!isAbort(error)) fill(result, errorBox(error));
    } finally {
      submit.disabled = false;
    }
  };
  fill(root, el);
  form.partitions(detail?.partitions ?? 0);
  return { refresh: (next) => form.partitions(next?.partitions ?? 0) };
}

function stored(sent) {
  if (sent.offset === null || sent.offset === undefined) return h('p', { class: 'ok-line' }, 'Stored.');
  return h('p', { class: 'ok-line' }, 'Stored in partition ', h('strong', { class: 'num' }, sent.partition), ' at offset ',
    can('offsets') ? h('a', { href: recordPath(sent), class: 'num', testid: 'send-link' }, sent.offset) : h('strong', { class: 'num' }, sent.offset));
}

function parts(record) {
  const key = bytesField('Key', 1, 'send-key', record?.key, 'Empty: the record has no key');
  const value = bytesField('Value', 10, 'send-value', record?.value);
  const json = jsonTools(value);
  const headers = headerRows(record?.headers ?? []);
  const partition = h('select', { testid: 'send-partition' });
  let known = -1;
  const partitions = (n) => {
    if (n === known) return;
    known = n;
    const before = partition.value;
    fill(partition, options([['', 'by key'], ...Array.from({ length: n }, (_, i) => [String(i), String(i)])], before));
  };
  const read = () => ({
    key: key.text.value === '' ? null : key.read(), value: value.read(), headers: headers.read(),
    ...(partition.value === '' ? {} : { partition: Number(partition.value) }),
  });
  const content = [
    h('div', { class: 'row' }, can('keys') ? key.el : null, can('create_partitions') ? field('Partition', partition, 'Without a key: in turn') : null),
    can('headers') ? headers.el : null, value.el, json,
  ];
  return { content, read, partitions };
}

function bytesField(label, rows, testid, given, hint) {
  // A text field changes line ends; such text is edited as bytes, so that it is sent as it was.
  const fragile = typeof given === 'string' && (rows === 1 ? /[\r\n]/ : /\r/).test(given);
  const data = fragile ? { b64: toBase64(given) } : given;
  const binary = data !== null && typeof data === 'object';
  const props = { testid, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', value: data === undefined || data === null ? '' : binary ? data.b64 : data };
  const text = rows === 1 ? h('input', { type: 'text', class: 'mono', ...props }) : h('textarea', { rows, class: 'mono', ...props });
  const encoding = h('select', { class: 'small', 'aria-label': `${label} is given as` }, options(ENCODINGS, binary ? 'b64' : 'text'));
  const el = field(label, text, hint);
  el.firstChild.after(encoding);
  el.classList.add('with-encoding', 'grow');
  const read = () => (encoding.value === 'b64' ? { b64: text.value.replace(/\s+/g, '') } : text.value);
  return { el, text, encoding, read };
}

function jsonTools(value) {
  const state = h('span', { role: 'status', class: 'json-state', testid: 'json-state' });
  const button = h('button', { type: 'button', class: 'small', testid: 'pretty' }, 'Format JSON');
  const check = () => {
    let node = null;
    const { value: text } = value.text;
    const size = `${bytes(byteLength(text))}. `;
    if (value.encoding.value === 'b64' || text.trim() === '') fill(state, h('span', { class: 'muted' }, text === '' ? 'Empty value' : 'Bytes'));
    else {
      try {
        node = readJson(text);
        fill(state, h('span', { class: 'muted' }, size), h('span', { class: 'ok-line' }, 'Valid JSON'));
      } catch (error) {
        fill(state, h('span', { class: 'muted' }, `${size}Not JSON: ${error.message} at ${place(text, error.at)}`));
      }
    }
    button.disabled = !node;
    return node;
  };
  button.onclick = () => {
    const node = check();
    if (!node) return;
    value.text.value = pretty(node);
    check();
    announce('The JSON is formatted', true);
  };
  value.text.oninput = debounce(check, 150);
  value.encoding.onchange = check;
  check();
  return h('div', { class: 'json-tools' }, button, state);
}

function place(text, at) {
  const before = text.slice(0, at).split('\n');
  return `line ${before.length}, column ${before.at(-1).length + 1}`;
}

function headerRows(initial) {
  const list = h('div', { class: 'header-rows' });
  const add = (name = '', value = '') => {
    const n = list.children.length + 1;
    const row = h('div', { class: 'header-row' },
      h('input', { type: 'text', class: 'mono', 'aria-label': `Header ${n} name`, placeholder: 'name', value: name, spellcheck: 'false', autocomplete: 'off' }),
      h('input', { type: 'text', class: 'mono', 'aria-label': `Header ${n} value`, placeholder: 'value', value: typeof value === 'string' ? value : '', spellcheck: 'false', autocomplete: 'off' }),
      h('button', { type: 'button', class: 'quiet', 'aria-label': `Remove header ${n}`, onclick: () => row.remove() }, '\u00d7'));
    // Bytes cannot be edited as text; they are sent as they are unless the user types over them.
    row.bytes = typeof value === 'string' ? null : value;
    if (row.bytes) row.children[1].placeholder = 'bytes, kept';
    list.append(row);
    return row;
  };
  initial.forEach((header) => add(header.name, header.value));
  const read = () => [...list.children].filter((row) => row.children[0].value !== '').map((row) => ({
    name: row.children[0].value, value: row.bytes && row.children[1].value === '' ? row.bytes : row.children[1].value }));
  const el = h('fieldset', { class: 'headers' }, h('legend', null, 'Headers'), list,
    h('button', { type: 'button', class: 'small', testid: 'add-header', onclick: () => add().firstChild.focus() }, 'Add header'));
  return { el, read };
}

