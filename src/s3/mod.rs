//! The vocabulary of S3: names, requests, ranges, conditions, metadata, errors.
//!
//! Pure: text and headers in, values out. No I/O, no async, no clock, and no type of the HTTP server; it depends on no
//! other module of hotset. Where S3, the RFCs and common servers disagree, S3 decides, and a doubtful request is never
//! answered from the cache: [`operation`] lets only an allow-list of requests through as reads (R16), and
//! [`object_meta`] admits only responses whose version and size are certain (R2).

mod account;
mod address;
mod checksum;
pub mod delete_objects;
mod described;
mod effect;
pub mod error;
mod error_response;
pub mod etag;
pub mod event;
mod evidence;
pub(crate) mod field;
mod host;
mod listed;
mod listing;
pub mod name;
pub mod object_list;
pub mod object_meta;
pub mod operation;
mod overrides;
pub mod part;
pub mod permissions;
pub mod precondition;
pub mod range;
mod read;
pub mod request_head;
pub mod restore;
pub mod session;
pub mod spelling;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
mod url;
pub mod version;
mod xml;

pub use account::AccountId;
pub use address::{origin_form, raw_path, without_prefix};
pub use checksum::{AnnouncedCrc, Crc, CrcAlgorithm};
pub use described::described_headers;
pub use error::S3Error;
pub use etag::ETag;
pub use event::{Change, ObjectEvent};
pub use evidence::Evidence;
pub use host::HostNames;
pub use listed::{EntryState, ListRequest, ListedEntry, ListingScanner, ListingVisitor};
pub use listing::Listing;
pub use name::{BucketName, InvalidName, MAX_KEY, ObjectHasher, ObjectId, ObjectKey, Realm};
pub use object_meta::{NotCacheable, ObjectMeta, announces_another_length};
pub use operation::{Effect, Operation, Parsed, Read, ReadMethod, ResponseOverrides};
pub use part::{Part, PartNumber, Parts};
pub use permissions::{Action, RequiredPermission, RequiredPermissions, Resource};
pub use precondition::{FirstAsk, IfRange, Preconditions, Verdict};
pub use range::{ByteRange, ContentRange, Unsatisfiable};
pub(crate) use read::VENDOR_PREFIXES;
pub use read::{expected_owner, obstacle, shows_object};
pub use request_head::RequestHead;
pub use target::{Query, decode, encode_path, encode_query_component};
pub use url::{InvalidS3Url, S3Url};
pub use version::VersionId;
