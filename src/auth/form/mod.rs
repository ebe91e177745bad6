//! Browser uploads: POST of `multipart/form-data` to a bucket, authorised by a signed policy in the
//! form.
//!
//! [`HeadReader`] reads the fields before the file, [`Access::admit_form`](super::Access::admit_form) asks who sent
//! them and holds them against the [`Policy`] that was signed, [`Outgoing`] writes them anew for the origin,
//! and [`FormBody`] lets the file pass. Source: Amazon S3 API Reference, "POST Object", "POST Policy" and
//! "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)"; what S3 was seen to
//! answer where it says nothing, or something else.
//!
//! Invariants: nothing goes out before all fields were judged. What goes out is written from what was understood,
//! between boundaries that no client can know: so the origin finds the fields that we found, and none in the
//! file. What follows the file is dropped. The end of the file goes out only after all of the body has come and was
//! found right. Memory: 20 KiB of fields, one piece of the body, and 20 KiB of what follows the file.

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
