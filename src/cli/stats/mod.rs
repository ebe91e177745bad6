//! `hotset stats`: the state of a running server in a terminal, live or once.

mod view;
mod window;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::admin::{Admin, AskError, Server};
use super::asking::{Ending, ask};
use super::refresh::{Output, Refresh};
use super::terminal::{Key, SIZE, Style, Terminal};
use view::View;
use window::Window;

/// The arguments of `hotset stats`.
#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    refresh: Refresh,
}

pub(super) fn run(arguments: &StatsArguments) -> ExitCode {
    ask(Ok(arguments), &arguments.server, async |admin, arguments| {
        let interval = arguments.refresh.interval();
        match arguments.refresh.output() {
            Output::Json { once } => json(admin, interval, once).await,
            Output::Once => once(admin, interval).await,
            Output::Live => live(admin, interval).await,
        }
    })
}

async fn snapshot(admin: &Admin) -> Result<Value, AskError> {
    admin.ask(Method::GET, "/api/v1/stats", None).await
}

async fn json(admin: &Admin, interval: Duration, once: bool) -> Result<Ending, AskError> {
    loop {
        let line = format!("{}\n", snapshot(admin).await?);
        // A reader that has seen enough closes the pipe.
        if std::io::stdout().write_all(line.as_bytes()).is_err() || once {
            return Ok(Ending::Done);
        }
        sleep(interval).await;
    }
}

async fn once(admin: &Admin, interval: Duration) -> Result<Ending, AskError> {
    let mut window = Window::new(snapshot(admin).await?);
    sleep(interval).await;
    window.add(snapshot(admin).await?);
    let style = Style { width: SIZE.0, colours: false };
    let mut text = String::new();
    for view in View::ALL {
        for line in view::lines(&window, view, style) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(Ending::Done)
}

async fn live(admin: &Admin, interval: Duration) -> Result<Ending, AskError> {
    let mut window = Window::new(snapshot(admin).await?);
    let mut terminal = Terminal::open().map_err(AskError::Terminal)?;
    let (mut view, mut paused, mut problem) = (View::Overview, false, None);
    loop {
        let (width, height) = terminal.size().unwrap_or(SIZE);
        let style = Style { width, colours: terminal.has_colours() };
        let mut lines = view::lines(&window, view, style);
        lines.truncate(height.saturating_sub(1));
        lines.push(view::keys(view, paused, problem.as_deref(), style));
        if terminal.draw(&lines).is_err() {
            return Ok(Ending::Done);
        }
        let next = Instant::now() + interval;
        match timeout_at(next, terminal.key()).await {
            Ok(Key::Quit) => return Ok(Ending::Done),
            Ok(Key::Next) => view = view.next(),
            Ok(Key::Show(number)) => view = View::ALL.get(number).copied().unwrap_or(view),
            Ok(Key::Pause) => paused = !paused,
            Ok(Key::Letter(_)) => {}
            Err(_) if paused => {}
            Err(_) => match snapshot(admin).await {
                Ok(now) => {
                    window.add(now);
                    problem = None;
                }
                // The server may be restarting; a refused token stays refused.
                Err(error @ AskError::NotReachable(..)) => problem = Some(error.to_string()),
                Err(error) => return Err(error),
            },
        }
    }
}
