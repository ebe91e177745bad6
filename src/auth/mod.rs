//! Authentication and authorisation of clients, and signing of requests to the origin.
//!
//! [`Access`] authenticates and authorises every request: in `verify` mode by its signature ([`verify`]) and a file of
//! [`identities`]; in `transparent` mode S3 decides ([`transparent`]). Requests to the origin are signed by [`sign`],
//! as are the chunks of an upload ([`chunked`]) and a browser's form ([`form`]).
//!
//! Invariant: a request to the origin is signed over exactly the bytes that are sent, with our own key, or is the
//! client's own request as it signed it, never both (R23). This module depends on S3's vocabulary (`crate::s3`), and
//! not on sockets, pingora or the cache.

mod access;
mod bearer;
pub mod chunked;
mod client_limit;
pub mod config;
pub mod credentials;
pub mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod identities;
pub mod reserved;
pub mod sign;
pub mod transparent;
mod trust;
pub mod verify;
pub mod web_origin;

pub use access::{Access, Admitted, ListedKeys, Sender};
pub use bearer::bearer;
pub use client_limit::{ClientLimit, ClientLimitOverride};
pub use config::{AuthConfig, AuthMode};
pub use credentials::{Credentials, InvalidCredentials};
pub use form::FormGate;
pub use identities::{CertificateId, Identities, IdentitiesError, Identity, IdentitySet};
pub use reserved::ReservedNames;
pub use sign::{Payload, Signature, Signer};
pub use transparent::Transparent;
pub use trust::Trust;
pub use verify::BodyCheck;
pub use web_origin::AllowedOrigins;
