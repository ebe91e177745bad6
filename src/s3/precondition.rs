//! Conditional reads: `If-Match` and its kin, and `If-Range`.
//!
//! The order is that of RFC 9110 section 13.2.2, which gives S3's two documented pairs: a true `If-Match` beats a false
//! `If-Unmodified-Since` (200), and a matching `If-None-Match` beats a true `If-Modified-Since` (304). A condition that
//! is not a valid tag never matches; an invalid date is no condition. Existence and access are decided before. SDKs pin
//! every later range with `If-Match`, so this runs on most hits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::etag::ETag;

/// The conditions of one request, other than `If-Range`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`: `*` or a list of tags, as sent (several lines joined by commas).
    pub if_match: Option<String>,
    /// `If-None-Match`: likewise.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`, when it is a date.
    pub if_modified_since: Option<SystemTime>,
    /// `If-Unmodified-Since`, when it is a date.
    pub if_unmodified_since: Option<SystemTime>,
}

/// Result of evaluating conditions against an existing object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The conditions hold.
    Pass,
    /// 304, with the `ETag`.
    NotModified,
    /// 412.
    Failed,
}

/// Method of the first origin request for an object without cached metadata, chosen so that a failing condition costs
/// one request and no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstAsk {
    /// GET: no condition can fail.
    Get,
    /// GET with this `If-Match`. Clients usually send a tag that they have just learned, so that it passes.
    GetIfMatch(HeaderValue),
    /// HEAD: the response is likely to be 304, and the metadata answers the next such read, too.
    Head,
}

impl Preconditions {
    /// Returns the method of the first origin request for an object without cached metadata.
    #[must_use]
    pub fn first_ask(&self) -> FirstAsk {
        match &self.if_match {
            _ if self.can_be_not_modified() => FirstAsk::Head,
            None if self.can_fail() => FirstAsk::Head,
            None => FirstAsk::Get,
            Some(list) if list.trim() == "*" => FirstAsk::Get,
            // Other spellings are understood here, but not by every server.
            Some(list) => one_strong_tag(list).map_or(FirstAsk::Head, FirstAsk::GetIfMatch),
        }
    }

    /// Parses the four headers.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Preconditions {
            if_match: joined(headers, &header::IF_MATCH),
            if_none_match: joined(headers, &header::IF_NONE_MATCH),
            if_modified_since: date(headers, &header::IF_MODIFIED_SINCE),
            if_unmodified_since: date(headers, &header::IF_UNMODIFIED_SINCE),
        }
    }

    /// Whether there is no condition at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.can_fail() && !self.can_be_not_modified()
    }

    /// Whether a condition may end in 412.
    #[must_use]
    pub fn can_fail(&self) -> bool {
        self.if_match.is_some() || self.if_unmodified_since.is_some()
    }

    /// Whether a condition may end in 304.
    #[must_use]
    pub fn can_be_not_modified(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// Evaluates the conditions against an existing object. 412 takes precedence over 304.
    #[must_use]
    pub fn evaluate(&self, etag: &ETag, last_modified: SystemTime) -> Verdict {
        let matches = |list: &str| any_member(list, |member| etag.strong_eq(member));
        let resembles = |list: &str| any_member(list, |member| etag.weak_eq(member));
        let modified_since = |date| whole_seconds(last_modified) > date;

        let failed = match (&self.if_match, self.if_unmodified_since) {
            (Some(list), _) => !matches(list),
            (None, Some(date)) => modified_since(date),
            (None, None) => false,
        };
        let not_modified = match (&self.if_none_match, self.if_modified_since) {
            (Some(list), _) => resembles(list),
            (None, Some(date)) => !modified_since(date),
            (None, None) => false,
        };
        match (failed, not_modified) {
            (true, _) => Verdict::Failed,
            (false, true) => Verdict::NotModified,
            (false, false) => Verdict::Pass,
        }
    }

    /// Returns the header that caused a [`Verdict::Failed`], as S3 names it in the error.
    #[must_use]
    pub fn failed_condition(&self) -> &'static str {
        if self.if_match.is_some() { "If-Match" } else { "If-Unmodified-Since" }
    }
}

/// `If-Range`: the range applies to this version only; otherwise the whole object is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfRange {
    /// A tag as sent, quoted or not.
    ETag(String),
    /// A date.
    Date(SystemTime),
}

impl IfRange {
    /// Parses the header; `None` if there is none. A value that is neither a tag nor a date becomes a tag that never
    /// matches, so the response is the whole object.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = joined(headers, &header::IF_RANGE)?;
        let value = value.trim();
        // A tag may hold a comma or a space but starts with a quote or a mark; a date does not.
        match httpdate::parse_http_date(value) {
            Ok(date) => Some(IfRange::Date(date)),
            Err(_) => Some(IfRange::ETag(value.to_owned())),
        }
    }

    /// Whether the range applies. Tags are compared strongly; a date must equal the object's (RFC 9110 section 13.1.5).
    #[must_use]
    pub fn matches(&self, etag: &ETag, last_modified: SystemTime) -> bool {
        match self {
            IfRange::ETag(tag) => etag.strong_eq(tag),
            IfRange::Date(date) => whole_seconds(last_modified) == *date,
        }
    }
}

/// Returns the only member of a list, if it is a strong tag in quotes.
fn one_strong_tag(list: &str) -> Option<HeaderValue> {
    let tag = list.trim();
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    HeaderValue::from_str(tag).ok().filter(|_| is_plain)
}

/// Joins all lines of a list header. Bytes outside UTF-8 are replaced, so that such a member remains and never matches:
/// a condition must never vanish.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
    let first = lines.next()?.into_owned();
    Some(lines.fold(first, |all, line| all + ", " + &line))
}

/// Parses a header that must be one date. RFC 9110: anything else is ignored.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => httpdate::parse_http_date(line.to_str().ok()?.trim()).ok(),
        _ => None,
    }
}

/// Truncates a time to the precision of an HTTP date.
fn whole_seconds(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => time,
    }
}

/// Whether the list is `*` or one of its members passes. Commas inside quotes do not separate members.
fn any_member(list: &str, mut passes: impl FnMut(&str) -> bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut quoted = false;
    list.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .any(|member| !member.is_empty() && passes(member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const THEN: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    const BEFORE: &str = "Wed, 21 Oct 2015 07:27:59 GMT";
    const LATER: &str = "Wed, 21 Oct 2015 07:28:01 GMT";

    fn at(date: &str) -> SystemTime {
        httpdate::parse_http_date(date).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn conditions_that_are_likely_to_fail_are_asked_by_head() {
        let ask = |pairs: &[_]| Preconditions::from_headers(&headers(pairs)).first_ask();
        assert_eq!(ask(&[]), FirstAsk::Get);
        assert_eq!(ask(&[("if-match", "*")]), FirstAsk::Get);
        let tag = FirstAsk::GetIfMatch(HeaderValue::from_static("\"abc\""));
        assert_eq!(ask(&[("if-match", " \"abc\" ")]), tag);
        assert_eq!(ask(&[("if-match", "\"abc\""), ("if-unmodified-since", THEN)]), tag);
        for (name, value) in [
            ("if-match", "abc"),
            ("if-match", "W/\"abc\""),
            ("if-match", "\"abc\", \"d\""),
            ("if-match", "\"\""),
            ("if-unmodified-since", THEN),
            ("if-none-match", "*"),
            ("if-modified-since", THEN),
        ] {
            assert_eq!(ask(&[(name, value)]), FirstAsk::Head, "{name}: {value}");
        }
        assert_eq!(ask(&[("if-match", "\"abc\""), ("if-none-match", "\"d\"")]), FirstAsk::Head);
    }

    /// Evaluates against an object with the tag `"abc"`, last modified `THEN`.
    fn verdict(pairs: &[(&'static str, &str)]) -> Verdict {
        let etag = ETag::new(HeaderValue::from_static("\"abc\""));
        Preconditions::from_headers(&headers(pairs)).evaluate(&etag, at(THEN))
    }

    #[test]
    fn no_condition_passes() {
        assert!(Preconditions::from_headers(&HeaderMap::new()).is_empty());
        assert_eq!(verdict(&[]), Verdict::Pass);
    }

    #[test]
    fn if_match_takes_quoted_unquoted_lists_and_star() {
        for value in
            ["\"abc\"", "abc", "*", " * ", "\"x\", \"abc\"", "x,abc", "\"a,b\",\"abc\"", ", abc ,"]
        {
            assert_eq!(verdict(&[("if-match", value)]), Verdict::Pass, "{value}");
        }
        for value in ["\"x\"", "x", "\"x,abc\"", "W/\"abc\"", "", "\"ABC\"", "\"x\", *"] {
            assert_eq!(verdict(&[("if-match", value)]), Verdict::Failed, "{value}");
        }
    }

    #[test]
    fn if_none_match_takes_the_same_and_compares_weakly() {
        for value in ["\"abc\"", "abc", "*", "\"x\", \"abc\"", "W/\"abc\""] {
            assert_eq!(verdict(&[("if-none-match", value)]), Verdict::NotModified, "{value}");
        }
        for value in ["\"x\"", "x", "\"x\", \"y\"", ""] {
            assert_eq!(verdict(&[("if-none-match", value)]), Verdict::Pass, "{value}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [("if-match", "\"x\""), ("if-match", "\"abc\"")];
        assert_eq!(verdict(&lines), Verdict::Pass);
        let lines = [("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")];
        assert_eq!(verdict(&lines), Verdict::NotModified);
    }

    #[test]
    fn a_condition_of_unreadable_bytes_does_not_vanish() {
        let mut map = HeaderMap::new();
        map.insert("if-match", HeaderValue::from_bytes(b"\"\xFF\"").unwrap());
        let conditions = Preconditions::from_headers(&map);
        let etag = ETag::new(HeaderValue::from_static("\"abc\""));
        assert_eq!(conditions.evaluate(&etag, at(THEN)), Verdict::Failed);
    }

    #[test]
    fn dates_compare_by_whole_seconds() {
        assert_eq!(verdict(&[("if-modified-since", THEN)]), Verdict::NotModified);
        assert_eq!(verdict(&[("if-modified-since", LATER)]), Verdict::NotModified);
        assert_eq!(verdict(&[("if-modified-since", BEFORE)]), Verdict::Pass);
        assert_eq!(verdict(&[("if-unmodified-since", THEN)]), Verdict::Pass);
        assert_eq!(verdict(&[("if-unmodified-since", LATER)]), Verdict::Pass);
        assert_eq!(verdict(&[("if-unmodified-since", BEFORE)]), Verdict::Failed);
        let etag = ETag::new(HeaderValue::from_static("\"abc\""));
        let fraction = at(THEN) + Duration::from_millis(900);
        let since = Preconditions::from_headers(&headers(&[("if-modified-since", THEN)]));
        assert_eq!(since.evaluate(&etag, fraction), Verdict::NotModified);
    }

    #[test]
    fn a_date_that_cannot_be_read_is_no_condition() {
        for value in ["yesterday", "", "2015-10-21T07:28:00Z"] {
            let pairs = [("if-modified-since", value), ("if-unmodified-since", value)];
            assert!(Preconditions::from_headers(&headers(&pairs)).is_empty(), "{value}");
        }
    }

    #[test]
    fn a_true_if_match_beats_a_false_if_unmodified_since() {
        let pairs = [("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)];
        assert_eq!(verdict(&pairs), Verdict::Pass);
        let pairs = [("if-match", "\"x\""), ("if-unmodified-since", LATER)];
        assert_eq!(verdict(&pairs), Verdict::Failed);
    }

    #[test]
    fn a_matching_if_none_match_beats_a_true_if_modified_since() {
        let pairs = [("if-none-match", "\"abc\""), ("if-modified-since", BEFORE)];
        assert_eq!(verdict(&pairs), Verdict::NotModified);
        let pairs = [("if-none-match", "\"x\""), ("if-modified-since", LATER)];
        assert_eq!(verdict(&pairs), Verdict::Pass);
    }

    #[test]
    fn a_412_is_found_before_a_304() {
        let pairs = [("if-match", "\"x\""), ("if-none-match", "\"abc\"")];
        assert_eq!(verdict(&pairs), Verdict::Failed);
        let pairs = [("if-unmodified-since", BEFORE), ("if-none-match", "\"abc\"")];
        assert_eq!(verdict(&pairs), Verdict::Failed);
        let pairs = [("if-match", "\"abc\""), ("if-none-match", "\"abc\"")];
        assert_eq!(verdict(&pairs), Verdict::NotModified);
    }

    #[test]
    fn the_failed_condition_is_named_and_kinds_are_told_apart() {
        let read = |pairs: &[(&'static str, &str)]| Preconditions::from_headers(&headers(pairs));
        let both = read(&[("if-match", "x"), ("if-unmodified-since", BEFORE)]);
        assert_eq!(both.failed_condition(), "If-Match");
        assert_eq!(
            read(&[("if-unmodified-since", BEFORE)]).failed_condition(),
            "If-Unmodified-Since"
        );
        assert!(both.can_fail() && !both.can_be_not_modified());
        let none_match = read(&[("if-none-match", "x")]);
        assert!(!none_match.can_fail() && none_match.can_be_not_modified());
    }

    #[test]
    fn if_range_compares_strongly_or_by_the_exact_date() {
        let etag = ETag::new(HeaderValue::from_static("\"abc\""));
        let matches = |value: &str| {
            let read = IfRange::from_headers(&headers(&[("if-range", value)])).unwrap();
            read.matches(&etag, at(THEN))
        };
        for value in ["\"abc\"", "abc", THEN] {
            assert!(matches(value), "{value}");
        }
        for value in ["W/\"abc\"", "\"x\"", "*", "", "soon", BEFORE, LATER, "\"x\", \"abc\""] {
            assert!(!matches(value), "{value}");
        }
        assert_eq!(IfRange::from_headers(&HeaderMap::new()), None);
    }
}
