// Asks for the token.
import { h, fill } from '../dom.js';
import { post } from '../api.js';
import { navigate } from '../router.js';
import { isLocal } from '../dom.js';
import { state } from '../state.js';
import { field, errorBox, title } from '../ui.js';

export default function mount({ root, query }) {
  title('Log in');
  const next = query.get('next') ?? '/';
  const token = h('input', { type: 'password', required: true, autocomplete: 'current-password', testid: 'login-token', autofocus: true });
  const submit = h('button', { type: 'submit', class: 'primary', testid: 'login-submit' }, 'Log in');
  const problem = h('div');
  const form = h('form', { class: 'panel login' }, h('h1', null, 'Log in'),
    field('Token', token, 'The token that the console was started with. It prints where the token is kept when it starts.'), problem,
    h('div', { class: 'actions' }, submit));
  form.onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    fill(problem);
    try {
      await post('/login', { token: token.value });
      state.info = null;
      const url = new URL(isLocal(next) ? next : '/', location.href);
      navigate(url.pathname + url.search, { replace: true });
    } catch (error) {
      fill(problem, errorBox(error));
      token.select();
    } finally {
      submit.disabled = false;
    }
  };
  fill(root, form);
  requestAnimationFrame(() => token.focus());
}
