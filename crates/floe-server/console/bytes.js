// Keys, values and headers: text where they are UTF-8, else bytes in base64.

export const isBinary = (data) => data !== null && typeof data === 'object';

export function toBytes(data) {
  if (data === null || data === undefined) return new Uint8Array();
  if (!isBinary(data)) return new TextEncoder().encode(data);
  const raw = atob(data.b64);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export function byteLength(data) {
  if (data === null || data === undefined) return 0;
  if (!isBinary(data)) return new TextEncoder().encode(data).length;
  const pad = data.b64.endsWith('==') ? 2 : data.b64.endsWith('=') ? 1 : 0;
  return (data.b64.length / 4) * 3 - pad;
}

const hex = (byte) => byte.toString(16).padStart(2, '0');

/** First bytes as hex, for a line of a table. */
export function hexStart(data, max = 24) {
  const length = byteLength(data);
  const head = toBytes({ b64: data.b64.slice(0, Math.ceil(max / 3) * 4) });
  return [...head.slice(0, max)].map(hex).join(' ') + (length > max ? ' \u2026' : '');
}

/** Lines of a hex dump: address, sixteen bytes, and the printable ones as text. */
export function hexDump(bytes, from, to) {
  const lines = [];
  for (let at = from; at < Math.min(to, bytes.length); at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, to));
    const left = [...row.subarray(0, 8)].map(hex).join(' ');
    const right = [...row.subarray(8)].map(hex).join(' ');
    const text = [...row].map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${left.padEnd(23)}  ${right.padEnd(23)}  ${text}`);
  }
  return lines.join('\n');
}

export function toBase64(text) {
  let raw = '';
  for (const byte of new TextEncoder().encode(text)) raw += String.fromCharCode(byte);
  return btoa(raw);
}

/** Index into the string of a byte position in its UTF-8 form. */
export function charIndex(text, position) {
  let used = 0;
  let index = 0;
  for (const char of text) {
    if (used >= position) break;
    const code = char.codePointAt(0);
    used += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    index += char.length;
  }
  return index;
}
