//! Browser uploads: POST of `multipart/form-data` to a bucket, authorised by a signed policy in the
//! form.
//!
//! [`HeadReader`] parses the fields before the file, [`Access::admit_form`](super::Access::admit_form) authenticates
//! them and checks them against the signed [`Policy`], [`Outgoing`] writes them anew for the origin, and [`FormBody`]
//! passes the file. Source: Amazon S3 API Reference, "POST Object", "POST Policy" and "Authenticating Requests in
//! Browser-Based Uploads Using POST (AWS Signature Version 4)"; S3's observed behaviour where that is silent or wrong.
//!
//! Invariants: nothing is sent before all fields are checked. The output is written from the parsed fields, between
//! boundaries that no client can know: so the origin finds the same fields, and none in the file. Anything after the
//! file is dropped. The end of the file is sent only after the whole body has arrived and was verified. Memory: 20 KiB
//! of fields, one piece of the body, and 20 KiB after the file.

mod admit;
mod body;
mod boundary;
mod fields;
mod head;
mod outgoing;
mod params;
mod part;
mod policy;
mod refusal;

pub use admit::{AdmittedForm, FormGate};
pub use body::FormBody;
pub use boundary::Boundary;
pub use fields::{Field, Fields};
pub use head::{FormHead, HeadReader};
pub use outgoing::Outgoing;
pub use part::FilePart;
pub use policy::{Policy, SizeRange};
pub use refusal::MAX_HEAD;

pub(super) use admit::is_form;
pub(super) use refusal::must_contain;

#[cfg(test)]
pub(super) mod tests;
