// Facts about the server and choices of the user that every screen needs.

export const state = { info: null, skew: 0 };

export function setInfo(info) {
  state.info = info;
  state.skew = typeof info.now === 'number' ? info.now - Date.now() : 0;
}

/** Time of the server, so that "3 s ago" holds where the clock of the browser is wrong. */
export const serverNow = () => Date.now() + state.skew;

export const readOnly = () => Boolean(state.info?.read_only);
export const can = (name) => Boolean(state.info?.capabilities?.[name]);
export const limit = (name, otherwise) => state.info?.limits?.[name] ?? otherwise;

export function stored(name) {
  try {
    return localStorage.getItem(`floe.${name}`);
  } catch {
    return null;
  }
}

export function store(name, value) {
  try {
    if (value === null) localStorage.removeItem(`floe.${name}`);
    else localStorage.setItem(`floe.${name}`, value);
  } catch { /* storage is off: the choice lasts as long as the page */ }
}
