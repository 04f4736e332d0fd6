//! The terminal: its keys, and its whole screen.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen},
};
use tokio::sync::mpsc;

use super::SortColumn;
use crate::exit::{Failure, Outcome};

/// Time after which the thread of the keys looks whether the screen is still open.
const LOOK: Duration = Duration::from_millis(100);

/// Wish of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    /// The size of the terminal has changed.
    Redraw,
    Sort(SortColumn),
    Up,
    Down,
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        let key = match event {
            Event::Resize(..) => return Some(Self::Redraw),
            Event::Key(KeyEvent { kind: KeyEventKind::Release, .. }) => return None,
            Event::Key(key) => key,
            _ => return None,
        };
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Self::Quit),
            KeyCode::Char('q') | KeyCode::Esc => Some(Self::Quit),
            KeyCode::Char('n') => Some(Self::Sort(SortColumn::Name)),
            KeyCode::Char('w') => Some(Self::Sort(SortColumn::Rate)),
            KeyCode::Char('r') => Some(Self::Sort(SortColumn::Records)),
            KeyCode::Char('s') => Some(Self::Sort(SortColumn::Size)),
            KeyCode::Char('l') => Some(Self::Sort(SortColumn::Lag)),
            KeyCode::Up | KeyCode::Char('k') => Some(Self::Up),
            KeyCode::Down | KeyCode::Char('j') => Some(Self::Down),
            _ => None,
        }
    }
}

/// Screen in the mode for programs, which leaves what the terminal showed before. Dropping it restores the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    keys: mpsc::Receiver<io::Result<Key>>,
    open: Arc<AtomicBool>,
}

fn failed(error: &io::Error) -> Failure {
    Failure::io("cannot use the terminal", error)
}

impl Screen {
    pub(super) fn open() -> Outcome<Self> {
        terminal::enable_raw_mode().map_err(|error| failed(&error))?;
        let (sender, keys) = mpsc::channel(16);
        let screen = Self { keys, open: Arc::new(AtomicBool::new(true)) };
        execute!(io::stdout(), EnterAlternateScreen, Hide).map_err(|error| failed(&error))?;
        let open = Arc::clone(&screen.open);
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while open.load(Ordering::Relaxed) {
                    let key = match event::poll(LOOK) {
                        Ok(false) => continue,
                        Ok(true) => event::read().map(|event| Key::of(&event)),
                        Err(error) => Err(error),
                    };
                    let failed = key.is_err();
                    if key.transpose().is_some_and(|key| sender.blocking_send(key).is_err()) || failed {
                        return;
                    }
                }
            })
            .map_err(|error| failed(&error))?;
        Ok(screen)
    }

    /// Returns the columns and the lines of the terminal; those of a usual one if it does not tell.
    pub(super) fn size() -> Outcome<(usize, usize)> {
        let (width, height) = terminal::size().map_err(|error| failed(&error))?;
        let or = |told: u16, usual| if told == 0 { usual } else { told.into() };
        Ok((or(width, 80), or(height, 24)))
    }

    /// Returns the next key that has a meaning.
    ///
    /// # Cancel safety
    /// Dropping the future loses no key.
    pub(super) async fn key(&mut self) -> Outcome<Key> {
        match self.keys.recv().await {
            Some(key) => key.map_err(|error| failed(&error)),
            // The thread ends only after an error, which was received then.
            None => Ok(Key::Quit),
        }
    }

    /// Shows lines that fit on the screen.
    pub(super) fn show(&mut self, lines: &[String]) -> Outcome {
        let mut out = io::stdout().lock();
        let mut draw = || {
            for (row, line) in (0_u16..).zip(lines) {
                queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            }
            queue!(out, Clear(ClearType::FromCursorDown))?;
            out.flush()
        };
        draw().map_err(|error| failed(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
        // A terminal that is gone cannot be restored.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_meanings() {
        let key = |code, modifiers| Key::of(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |letter| key(KeyCode::Char(letter), KeyModifiers::NONE);
        assert_eq!(plain('q'), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!((plain('c'), plain('l')), (None, Some(Key::Sort(SortColumn::Lag))));
        assert_eq!(Key::of(&Event::Resize(80, 24)), Some(Key::Redraw));
    }
}
