//! Waiting that ends when the client disconnects.

use std::future::Future;

use pingora::proxy::Session;
use pingora::{ErrorType, Result};
use tokio::select;

/// Waits for `work`, or for the client to go away: then whatever it waited for stops costing (R31).
pub(in crate::proxy) async fn or_gone<T>(
    session: &mut Session,
    work: impl Future<Output = T>,
) -> Result<T> {
    // pingora keeps the byte of a next request that waiting may read only once it has looked where this one ends.
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
