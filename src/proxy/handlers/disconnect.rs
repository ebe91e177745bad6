//! Waits that end when the client disconnects.

use std::future::Future;

use pingora::proxy::Session;
use pingora::{ErrorType, Result};
use tokio::select;

/// Waits for `work`, or until the client disconnects: then the work is cancelled (R31).
pub(in crate::proxy) async fn or_gone<T>(
    session: &mut Session,
    work: impl Future<Output = T>,
) -> Result<T> {
    // pingora keeps the byte of a next request that this wait may read only if it has found the end of the current
    // one.
    let _ = session.is_body_done();
    tokio::pin!(work);
    select! {
        biased;
        done = &mut work => return Ok(done),
        idle = session.downstream_session.read_body_or_idle(true) => {
            if let Err(error) = idle
                && matches!(
                    error.etype(),
                    ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error
                )
            {
                return Err(error);
            }
        }
    }
    Ok(work.await)
}
