//! Loop over the requests of one HTTP/1 connection. Between two sessions of pingora it owns the connection and
//! answers fast hits. Any other request stays unread, so that pingora finds the connection as if nobody had looked.

use std::io;
use std::pin::pin;

use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType};
use tokio::select;
use tokio::time::Instant;

use super::handed_over::HandedOver;
use crate::cache::LocalHit;
use crate::proxy::conn::connection::Connection;
use crate::proxy::conn::server::Server;
use crate::proxy::conn::shutdown::{LAST_REQUEST, Shutdown};

/// Continuation of a connection after a run of fast hits.
enum Next {
    /// With a request for pingora, and the fast path's result for it.
    Session(Option<Box<HandedOver>>),
    End,
}

/// Number of requests that may still come; `None`: no limit.
#[derive(Clone, Copy)]
struct Remaining(Option<u32>);

impl Remaining {
    fn is_last(self) -> bool {
        self.0.is_some_and(|more| more <= 1)
    }

    fn less_one(&mut self) {
        self.0 = self.0.map(|more| more.saturating_sub(1));
    }
}

impl Server {
    /// Serves a connection from the first request to the last.
    pub(in crate::proxy) async fn converse(&self, connection: Connection, shutdown: Shutdown) {
        let mut connection = Box::new(connection);
        let mut remaining = Remaining(self.limits().keep_alive_requests);
        let mut settings: Option<HttpPersistentSettings> = None;
        // A head that pingora has read already, behind the request before it, is for pingora to answer. It has read
        // nothing else: the gate hands out no byte beyond a body, and pingora keeps what it has to itself.
        let mut answered_heads = 0;
        loop {
            let mut understood = None;
            if connection.heads_read() == answered_heads {
                match self.hits(&mut connection, &mut remaining, &shutdown).await {
                    Next::Session(handed_over) => understood = handed_over,
                    Next::End => return,
                }
            }
            connection.client().hand_over(understood);
            let mut session = ServerSession::new_http1(connection);
            match settings.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                // The keep-alive time is announced when the request is known.
                None => session.set_keepalive(Some(self.limits().keep_alive.0.as_secs())),
            }
            // pingora counts the requests after this one.
            session.set_keepalive_reuses_remaining(remaining.0.map(|more| more.saturating_sub(1)));
            let served = self.proxy.process_new_http(session, shutdown.http1_close()).await;
            let Some(reused) = served else { return };
            answered_heads += 1;
            remaining.less_one();
            let (stream, kept) = reused.consume();
            settings = kept;
            let Some(same) = ours(stream) else { return };
            connection = same;
        }
    }

    /// Answers fast hits, up to a request that is none.
    async fn hits(
        &self,
        connection: &mut Connection,
        remaining: &mut Remaining,
        shutdown: &Shutdown,
    ) -> Next {
        let mut closing = pin!(shutdown.closing());
        loop {
            let idle_since = Instant::now();
            let keep_alive = self.limits().keep_alive.0;
            let came = select! {
                biased;
                came = connection.next(idle_since + keep_alive) => came,
                // Not polled again: the next request is answered by pingora, and is the last.
                () = &mut closing => connection.next(idle_since + LAST_REQUEST).await,
            };
            match came {
                Ok(true) => {}
                Ok(false) => return Next::End,
                Err(error) => {
                    log::debug!("a connection ends: {error}");
                    return Next::End;
                }
            }
            // The last response announces the close, which pingora does.
            if remaining.is_last() || shutdown.is_draining() {
                return Next::Session(None);
            }
            let mut answer = match self.gateway.fast_hit(connection).await {
                Ok(answer) => answer,
                Err(handed_over) => return Next::Session(handed_over),
            };
            remaining.less_one();
            let write_timeout = self.limits().write_timeout.0;
            let sent = connection.answer(&mut answer.here, LocalHit::copy, write_timeout).await;
            let failed = sent.err().map(broken_off);
            self.gateway.answered(connection, &answer, failed.as_deref());
            if failed.is_some() {
                return Next::End;
            }
        }
    }
}

fn broken_off(error: io::Error) -> Box<Error> {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => ErrorType::WriteTimedout,
        _ => ErrorType::WriteError,
    };
    Error::because(kind, "writing an answer", error)
}

/// Returns the connection that pingora was given, from its stream type.
fn ours(stream: Stream) -> Option<Box<Connection>> {
    stream.into_any().downcast().ok()
}
