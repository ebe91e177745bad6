//! Header names as S3 spells them over HTTP/1.1, for clients that compare them by case: `ETag`, `x-amz-id-2`.

use http::HeaderName;
use http::header;

/// Returns the spelling of a header name. `Cache-Status` and the standard headers that hotset sends by itself have
/// the spelling of their RFCs; all others are in lower case, as S3's own are.
pub(super) fn spelled(name: &HeaderName) -> &str {
    match *name {
        header::ETAG => "ETag",
        header::LAST_MODIFIED => "Last-Modified",
        header::ACCEPT_RANGES => "Accept-Ranges",
        header::CONTENT_TYPE => "Content-Type",
        header::CONTENT_LENGTH => "Content-Length",
        header::CONTENT_RANGE => "Content-Range",
        header::CONTENT_ENCODING => "Content-Encoding",
        header::CONTENT_LANGUAGE => "Content-Language",
        header::CONTENT_DISPOSITION => "Content-Disposition",
        header::CACHE_CONTROL => "Cache-Control",
        header::EXPIRES => "Expires",
        header::CONNECTION => "Connection",
        header::DATE => "Date",
        header::SERVER => "Server",
        header::LOCATION => "Location",
        header::RETRY_AFTER => "Retry-After",
        header::ALLOW => "Allow",
        header::VARY => "Vary",
        header::ACCESS_CONTROL_ALLOW_ORIGIN => "Access-Control-Allow-Origin",
        header::ACCESS_CONTROL_ALLOW_METHODS => "Access-Control-Allow-Methods",
        header::ACCESS_CONTROL_ALLOW_HEADERS => "Access-Control-Allow-Headers",
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS => "Access-Control-Allow-Credentials",
        header::ACCESS_CONTROL_EXPOSE_HEADERS => "Access-Control-Expose-Headers",
        header::ACCESS_CONTROL_MAX_AGE => "Access-Control-Max-Age",
        _ if name.as_str() == "cache-status" => "Cache-Status",
        _ => name.as_str(),
    }
}
