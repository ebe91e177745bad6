//! Captured log messages, so that tests can check that each was logged once.

use std::sync::Once;

use parking_lot::Mutex;

struct Said;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl ::log::Log for Said {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        if record.level() <= ::log::Level::Info {
            LINES.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Captures log messages from now on.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        ::log::set_logger(&Said).expect("no other logger in this binary");
        ::log::set_max_level(::log::LevelFilter::Info);
    });
}

/// Returns the captured lines about `path`, except for the one on how it is read.
pub(super) fn about(path: &str) -> Vec<String> {
    let about = |line: &&String| line.contains(path) && !line.starts_with("short reads of ");
    LINES.lock().iter().filter(about).cloned().collect()
}
