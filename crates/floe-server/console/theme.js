// Runs before the first paint, so that a stored theme does not flash. A file of its own, because the page allows no inline script.
(() => {
  try {
    const theme = localStorage.getItem('floe.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch { /* storage is off: the system decides */ }
})();
