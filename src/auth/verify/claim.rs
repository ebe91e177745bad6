//! The signature claimed by a request, in its `Authorization` header, in the query of a presigned URL or in the fields
//! of a form.
//!
//! It is parsed, and checked as far as possible without a secret: the form, the scope, the time. Everything borrows
//! from the request.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE, HeaderName, HeaderValue};

use super::refusal;
use crate::auth::sign::date::{amz_date, parse_amz_date};
use crate::auth::sign::{
    ALGORITHM, Payload, SERVICE, TERMINATOR, X_AMZ_CONTENT_SHA256, X_AMZ_DATE,
    X_AMZ_SECURITY_TOKEN, cut_at_byte, split_at_byte,
};
use crate::s3::{Query, RequestHead, S3Error};

/// Maximum difference between a request's time and the local clock.
pub(super) const MAX_SKEW: Duration = Duration::from_mins(15);
/// Maximum lifetime of a presigned URL, in seconds.
pub(super) const MAX_EXPIRES: u64 = 7 * 24 * 3600;

/// Location of the signature in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Header,
    Query,
    /// The fields of a form.
    Fields,
}

/// A claimed signature and the data for verifying it.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) form: Form,
    pub(super) credential: Credential<'a>,
    /// Names of the signed headers, joined by `;`, as sent.
    pub(super) signed_headers: &'a str,
    /// Signature as sent; valid only if it is 64 digits.
    pub(super) hex: &'a str,
    /// The signed time, as `20130524T000000Z`; then as a point in time.
    pub(super) amz_date: Cow<'a, str>,
    pub(super) time: SystemTime,
    /// Maximum lifetime of a presigned URL, or of a form's policy, in seconds.
    pub(super) expires: u64,
    pub(super) token: Option<&'a str>,
    /// The payload hash in the signature.
    pub(super) payload: &'a str,
}

/// The credential `AKID/20130524/us-east-1/s3/aws4_request`: access key, and scope of the signing key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) access_key: &'a str,
    /// Date as eight digits.
    pub(super) date: &'a str,
    region: &'a str,
    /// Everything but the access key.
    pub(super) scope: &'a str,
}

impl<'a> Claim<'a> {
    /// Parses the claim of a request; `None` if it is not signed at all.
    pub(super) fn of(head: &RequestHead<'a>, query: &'a Query) -> Result<Option<Self>, S3Error> {
        match signed_by(head.headers, query)? {
            (Some(header), _) => Self::of_header(header, head.headers).map(Some),
            (None, true) => Self::of_query(query, head.headers).map(Some),
            (None, false) if query.contains("AWSAccessKeyId") || query.contains("Signature") => {
                Err(refusal::other_version())
            }
            (None, false) => Ok(None),
        }
    }

    fn of_header(header: &'a HeaderValue, headers: &'a HeaderMap) -> Result<Self, S3Error> {
        let fields = Authorization::parse(header)?;
        let payload = single(headers, &X_AMZ_CONTENT_SHA256)?
            .ok_or_else(|| refusal::missing_header(X_AMZ_CONTENT_SHA256.as_str()))?;
        let (amz_date, time) = time_of(headers).ok_or_else(refusal::no_date)?;
        Ok(Self {
            form: Form::Header,
            credential: Credential::parse(fields.credential, Form::Header)?,
            signed_headers: fields.signed_headers,
            hex: fields.signature,
            amz_date,
            time,
            expires: 0,
            token: single(headers, &X_AMZ_SECURITY_TOKEN)?,
            payload,
        })
    }

    fn of_query(query: &'a Query, headers: &'a HeaderMap) -> Result<Self, S3Error> {
        let missing = || Form::Query.malformed_parameter(refusal::MISSING_PARAMETERS);
        let part = |name| query.get(name).filter(|text| !text.is_empty()).ok_or_else(missing);
        if part("X-Amz-Algorithm")? != ALGORITHM {
            let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
            return Err(Form::Query.malformed_parameter(message));
        }
        let credential = part("X-Amz-Credential")?;
        let (hex, amz_date) = (part("X-Amz-Signature")?, part("X-Amz-Date")?);
        let signed_headers = part("X-Amz-SignedHeaders")?;
        let expires = expires(part("X-Amz-Expires")?)?;
        let time = parse_amz_date(amz_date).ok_or_else(|| {
            Form::Query.malformed_parameter(
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            )
        })?;
        let hoisted = |name: &str| {
            let mut named = query.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            named.next().map(|(_, value)| value.unwrap_or_default())
        };
        let token = match hoisted(X_AMZ_SECURITY_TOKEN.as_str()) {
            Some(token) => Some(token),
            None => single(headers, &X_AMZ_SECURITY_TOKEN)?,
        };
        let in_header = single(headers, &X_AMZ_CONTENT_SHA256)?;
        let payload = match (hoisted(X_AMZ_CONTENT_SHA256.as_str()), in_header) {
            (Some(hoisted), Some(in_header)) if hoisted != in_header => {
                return Err(refusal::bad_payload(in_header));
            }
            (hoisted, in_header) => hoisted.or(in_header),
        };
        Ok(Self {
            form: Form::Query,
            credential: Credential::parse(credential, Form::Query)?,
            signed_headers,
            hex,
            amz_date: Cow::Borrowed(amz_date),
            time,
            expires,
            token,
            payload: payload.unwrap_or(Payload::Unsigned.as_str()),
        })
    }

    /// Checks that the scope has this region and the day of the request.
    pub(super) fn check_scope(&self, region: &str) -> Result<(), S3Error> {
        let Credential { region: named, date, .. } = self.credential;
        if named != region {
            let problem = format_args!("the region '{named}' is wrong; expecting '{region}'");
            return Err(self.form.malformed(problem).with_detail("Region", region));
        }
        let day = self.amz_date.get(..8).unwrap_or_default();
        if date != day {
            return Err(self.form.malformed_parameter(format_args!(
                "Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{day}\"."
            )));
        }
        Ok(())
    }

    /// Checks that the request was signed within 15 minutes of the local clock, or is presigned and not expired.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), S3Error> {
        let early = self.time.duration_since(now).is_ok_and(|ahead| ahead > MAX_SKEW);
        match self.form {
            Form::Header => {
                let late = now.duration_since(self.time).is_ok_and(|behind| behind > MAX_SKEW);
                match early || late {
                    true => Err(refusal::too_skewed(self, now)),
                    false => Ok(()),
                }
            }
            Form::Query | Form::Fields if early => Err(refusal::not_yet()),
            Form::Query | Form::Fields => {
                let end = self.time + Duration::from_secs(self.expires);
                if now > end { Err(refusal::expired(self.expires, end, now)) } else { Ok(()) }
            }
        }
    }
}

impl<'a> Credential<'a> {
    pub(super) fn parse(credential: &'a str, form: Form) -> Result<Self, S3Error> {
        let malformed = || form.malformed(refusal::CREDENTIAL);
        let (access_key, scope) = cut_at_byte(credential, b'/').ok_or_else(malformed)?;
        let mut parts = split_at_byte(scope, b'/');
        let (Some(date), Some(region), Some(service), Some(terminator), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        if access_key.is_empty() {
            return Err(
                form.malformed("a non-empty Access Key (AKID) must be provided in the credential.")
            );
        }
        if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form.malformed(format_args!(
                "incorrect date format \"{date}\". This date in the credential must be in the format \"yyyyMMdd\"."
            )));
        }
        if service != SERVICE {
            return Err(form.malformed(format_args!(
                "incorrect service \"{service}\". This endpoint belongs to \"{SERVICE}\"."
            )));
        }
        if terminator != TERMINATOR {
            return Err(form.malformed(format_args!(
                "incorrect terminal \"{terminator}\". This endpoint uses \"{TERMINATOR}\"."
            )));
        }
        Ok(Self { access_key, date, region, scope })
    }
}

impl Form {
    /// Returns the 400 for a part of the credential.
    pub(super) fn malformed(self, problem: impl std::fmt::Display) -> S3Error {
        match self {
            Self::Header | Self::Fields => self.malformed_parameter(problem),
            Self::Query => self.malformed_parameter(format_args!(
                "Error parsing the X-Amz-Credential parameter; {problem}"
            )),
        }
    }

    /// Returns the 400 for anything else in the claim.
    pub(super) fn malformed_parameter(self, problem: impl std::fmt::Display) -> S3Error {
        match self {
            Self::Header => refusal::malformed_header(problem),
            Self::Query => refusal::malformed_query(problem),
            Self::Fields => S3Error::invalid_argument("X-Amz-Credential", problem.to_string()),
        }
    }
}

/// The parts of `AWS4-HMAC-SHA256 Credential=.., SignedHeaders=.., Signature=..`.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a HeaderValue) -> Result<Self, S3Error> {
        let unsupported = || refusal::unsupported_authorization(header);
        let text = header.to_str().map_err(|_| unsupported())?;
        let (mechanism, fields) = cut_at_byte(text, b' ').ok_or_else(unsupported)?;
        match mechanism {
            ALGORITHM => {}
            "AWS" => return Err(refusal::other_version()),
            _ if mechanism.starts_with("AWS4-") => return Err(refusal::other_version()),
            _ => return Err(unsupported()),
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in split_at_byte(fields, b',') {
            let field = field.trim_matches([' ', '\t']);
            let malformed = || {
                let problem = format_args!("the authorization component \"{field}\" is malformed.");
                Form::Header.malformed(problem)
            };
            let (name, value) = cut_at_byte(field, b'=').ok_or_else(malformed)?;
            let part = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed()),
            };
            if value.is_empty() || part.replace(value).is_some() {
                return Err(malformed());
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            return Err(Form::Header.malformed(
                "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
            ));
        };
        Ok(Self { credential, signed_headers, signature })
    }
}

/// Returns the one `Authorization` header, and whether the query is presigned.
///
/// # Errors
/// 400 `InvalidArgument` for both, or for two headers.
pub(in crate::auth) fn signed_by<'a>(
    headers: &'a HeaderMap,
    query: &Query,
) -> Result<(Option<&'a HeaderValue>, bool), S3Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let header = values.next();
    let presigned = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];
    let presigned = !query.is_empty() && presigned.iter().any(|name| query.contains(name));
    match header {
        Some(header) if presigned || values.next().is_some() => {
            Err(refusal::two_mechanisms(header))
        }
        _ => Ok((header, presigned)),
    }
}

/// Returns the signed time of a request: `x-amz-date`, or else `date`.
fn time_of(headers: &HeaderMap) -> Option<(Cow<'_, str>, SystemTime)> {
    if headers.contains_key(X_AMZ_DATE) {
        let text = single(headers, &X_AMZ_DATE).ok()??;
        return Some((Cow::Borrowed(text), parse_amz_date(text)?));
    }
    let text = single(headers, &DATE).ok()??;
    match parse_amz_date(text) {
        Some(time) => Some((Cow::Borrowed(text), time)),
        None => {
            let time = httpdate::parse_http_date(text).ok()?;
            Some((Cow::Owned(amz_date(time)), time))
        }
    }
}

/// Returns the value of a header that must not be repeated, as parsers differ on which one counts.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| refusal::bad_header(name)),
        (Some(_), Some(_)) => Err(refusal::bad_header(name)),
    }
}

fn expires(text: &str) -> Result<u64, S3Error> {
    let refused = |message: &str| Err(Form::Query.malformed_parameter(message));
    match text.parse::<i128>() {
        Ok(seconds) if seconds < 1 => refused("X-Amz-Expires must be non-negative"),
        Ok(seconds) if seconds > i128::from(MAX_EXPIRES) => refused(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
             than 604800 seconds",
        ),
        Ok(seconds) => Ok(u64::try_from(seconds).expect("between 1 and a week")),
        Err(_) => refused("X-Amz-Expires should be a number"),
    }
}
