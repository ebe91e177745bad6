//! Responses to requests that reached another region than their bucket's.

use http::header::{HeaderMap, HeaderName, LOCATION};
use http::{StatusCode, Uri};

use super::refused::Refusal;
use crate::s3::S3Error;

pub(super) const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
/// Maximum length of a region name.
const LONGEST: usize = 63;
const MALFORMED: &str = "AuthorizationHeaderMalformed";
const OTHER_LOCATION: &str = "IllegalLocationConstraintException";

/// A response to a request that was sent to the wrong regional endpoint, or signed for the wrong region. It had no
/// effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misdirected {
    /// The bucket's region; `None`: a `HeadBucket` is needed to learn it.
    pub(super) region: Option<String>,
    /// Whether the response names this error. Otherwise it is a 400 to a HEAD without a code, which may have another
    /// cause.
    pub(super) is_sure: bool,
    /// Whether another host must be used, and not only another region in the signature.
    pub(super) moves: bool,
    /// Host named by the response.
    pub(super) host: Option<String>,
}

impl Misdirected {
    /// Classifies a response whose body was read.
    pub(super) fn of(error: &S3Error, has_body: bool, headers: &HeaderMap) -> Option<Self> {
        let detail = |wanted| {
            let (_, text) = error.details.iter().find(|(name, _)| name == wanted)?;
            Some(text.trim())
        };
        let code = has_body.then_some(&*error.code);
        Self::read(error.status, code, detail("Region"), detail("Endpoint"), headers)
    }

    /// Classifies the head of a response that passes through, with the error code and region of its body.
    pub(super) fn of_head(
        status: StatusCode,
        headers: &HeaderMap,
        refusal: Option<&Refusal>,
        is_head: bool,
    ) -> Option<Self> {
        let code = refusal.map(|refusal| &*refusal.code).or((!is_head).then_some(""));
        let region = refusal.and_then(|refusal| refusal.region.as_deref());
        Self::read(status, code, region, None, headers)
    }

    fn read(
        status: StatusCode,
        code: Option<&str>,
        region: Option<&str>,
        endpoint: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let moves = match (status.as_u16(), code) {
            // The response to a HEAD has no code.
            (301 | 307, _) | (400, None | Some(OTHER_LOCATION)) => true,
            // The region that it names is the endpoint's, and that of the header the bucket's.
            (400, Some(MALFORMED)) => region.is_none(),
            _ => return None,
        };
        let region = region.or(text(&BUCKET_REGION)).filter(|region| is_region(region));
        let location = text(&LOCATION)
            .and_then(|location| Some(location.parse::<Uri>().ok()?.host()?.to_owned()));
        let host = location.or(endpoint.map(str::to_owned)).filter(|_| moves);
        let is_sure = status != StatusCode::BAD_REQUEST || code.is_some();
        Some(Self { region: region.map(str::to_owned), is_sure, moves, host })
    }
}

/// Whether an error code means that a request was signed for another region than its bucket's.
pub(super) fn is_of_region(code: &str) -> bool {
    code == MALFORMED
}

/// Whether a text can be the name of a region, and a label of a host name.
pub(super) fn is_region(text: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_legal)
}
