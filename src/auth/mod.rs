//! Who is asking, and in whose name we ask the origin.
//!
//! Here live the credentials, Signature Version 4 for requests to the origin ([`sign`]) and the
//! `aws-chunked` upload framing whose chunk signatures hang on it ([`chunked`]).
//!
//! Invariant: what leaves for the origin is signed over exactly the bytes that are sent, with our
//! own key; a client's signature is never forwarded beside ours (R23). This module knows S3's
//! vocabulary (`crate::s3`) and nothing of sockets, pingora or the cache.

pub mod chunked;
pub mod config;
pub mod credentials;
pub mod identities;
pub mod sign;
mod trust;
pub mod verify;

pub use config::{AuthConfig, AuthMode};
pub use credentials::{Credentials, InvalidCredentials};
pub use identities::{Identities, IdentitiesError, IdentitySet};
pub use sign::{Payload, Signature, Signer, strip_presigned};
pub use trust::{Identity, Trust};
