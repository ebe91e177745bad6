//! The terminal: raw mode while it is open, single keys, whole screens; and lines that fit it.

use std::io::{self, Read as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::sync::mpsc;

/// Default columns and rows, if the terminal does not report them.
pub(super) const SIZE: (usize, usize) = (80, 24);

/// Width and colours of the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub width: usize,
    pub colours: bool,
}

impl Style {
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Formats a line, truncated to the width, its head in bold.
    pub(super) fn row(self, head: &str, rest: &str) -> String {
        let room = self.width.saturating_sub(18);
        let rest: String = rest.chars().take(room).collect();
        format!("{}  {}", self.paint("1", &format!("{head:<16}")), rest.trim_end())
    }

    pub(super) fn heading(self, text: &str) -> String {
        let text: String = text.chars().take(self.width).collect();
        self.paint("1;33", &text)
    }
}

/// A pressed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Next,
    /// The key of a view, numbered from 0.
    Show(usize),
    Pause,
    /// Any other key.
    Letter(u8),
}

/// The user's terminal, whose mode is restored on drop.
pub(super) struct Terminal {
    before: Termios,
    keys: mpsc::Receiver<Key>,
}

impl Terminal {
    /// Switches the terminal to raw mode.
    ///
    /// # Errors
    /// The standard input is not a terminal.
    pub(super) fn open() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        // Ctrl-C is a key like others, so that the terminal is always left as it was.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let (sender, keys) = mpsc::channel(16);
        // A thread of its own: a read of the standard input cannot be given up. It ends with the process.
        std::thread::spawn(move || {
            let mut byte = [0];
            while matches!(io::stdin().read(&mut byte), Ok(1)) {
                if sender.blocking_send(key(byte[0])).is_err() {
                    return;
                }
            }
            let _ = sender.blocking_send(Key::Quit);
        });
        let terminal = Self { before, keys };
        // The other screen, without a cursor.
        terminal.write("\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    /// Returns the number of columns and rows.
    #[allow(clippy::unused_self, reason = "of the terminal that is open")]
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = termios::tcgetwinsize(io::stdout()).ok()?;
        let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (width > 0 && height > 0).then_some((width, height))
    }

    /// Whether colours may be used: not with `NO_COLOR`, and not if `TERM` is `dumb`.
    #[allow(clippy::unused_self, reason = "of the terminal that is open")]
    pub(super) fn has_colours(&self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        !is_set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
    }

    /// Draws these lines as the whole screen.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut screen = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            screen.push_str(if index > 0 { "\r\n" } else { "" });
            screen.push_str(line);
            screen.push_str("\x1b[K");
        }
        screen.push_str("\x1b[J");
        self.write(&screen)
    }

    /// Returns the next key; may be dropped and called again.
    pub(super) async fn key(&mut self) -> Key {
        self.keys.recv().await.unwrap_or(Key::Quit)
    }

    #[allow(clippy::unused_self, reason = "of the terminal that is open")]
    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.write("\x1b[?25h\x1b[?1049l");
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn key(byte: u8) -> Key {
    match byte {
        // q, Ctrl-C, Ctrl-D.
        b'q' | b'Q' | 3 | 4 => Key::Quit,
        b'\t' | b'n' => Key::Next,
        b'1'..=b'9' => Key::Show(usize::from(byte - b'1')),
        b'p' | b' ' => Key::Pause,
        other => Key::Letter(other),
    }
}
