//! Recognition of SNS endpoints, the only addresses to which requests are sent.

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

/// Allowed hosts of SNS.
#[derive(Debug)]
pub(super) enum Host {
    /// `https://sns.REGION.amazonaws.com`, or `.com.cn`, of the topic's own region.
    Aws,
    /// A configured replacement: its scheme and authority, verbatim.
    Other { scheme: String, authority: String },
}

/// An allowed URL of SNS, without a user or a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Url {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub target: PathAndQuery,
}

impl Host {
    /// Creates the host; `endpoint` was validated as `scheme://authority`.
    pub(super) fn new(endpoint: Option<&str>) -> Self {
        match endpoint.and_then(|endpoint| endpoint.split_once("://")) {
            Some((scheme, authority)) => {
                Self::Other { scheme: scheme.to_owned(), authority: authority.to_owned() }
            }
            None => Self::Aws,
        }
    }

    /// Returns the URL of a signing certificate, if it is allowed.
    pub(super) fn certificate(&self, url: &str, topic: &str) -> Option<Url> {
        let url = self.own(url, topic)?;
        let file = url.target.path().rsplit('/').next()?;
        let name = file.strip_prefix("SimpleNotificationService-")?.strip_suffix(".pem")?;
        let deep = matches!(self, Self::Aws) && url.target.path() != format!("/{file}");
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (named && !deep && url.target.query().is_none()).then_some(url)
    }

    /// Returns the URL that confirms a subscription to the topic, if it does nothing else.
    pub(super) fn confirmation(&self, url: &str, topic: &str) -> Option<Url> {
        let url = self.own(url, topic)?;
        let mut asked = [None; 3];
        for pair in url.target.query()?.split('&') {
            let (name, value) = pair.split_once('=')?;
            let place = match name {
                "Action" => &mut asked[0],
                "TopicArn" => &mut asked[1],
                "Token" => &mut asked[2],
                // LocalStack's.
                "sqs_queue" | "Version" => continue,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let [Some("ConfirmSubscription"), Some(arn), Some(token)] = asked else { return None };
        let arn = percent_encoding::percent_decode_str(arn).decode_utf8().ok()?;
        (url.target.path() == "/" && arn == topic && !token.is_empty()).then_some(url)
    }

    fn own(&self, url: &str, topic: &str) -> Option<Url> {
        // RFC 3986 has no such characters, and a parser may stop at them.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'@'))
        {
            return None;
        }
        let uri: Uri = url.parse().ok()?;
        let (scheme, authority) = (uri.scheme()?, uri.authority()?);
        match self {
            Self::Aws => {
                let host = authority.as_str();
                if *scheme != Scheme::HTTPS || region_of_host(host)? != region_of_topic(topic)? {
                    return None;
                }
            }
            Self::Other { scheme: own_scheme, authority: own } => {
                if scheme.as_str() != own_scheme || authority.as_str() != own {
                    return None;
                }
            }
        }
        let tls = *scheme == Scheme::HTTPS;
        Some(Url {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            target: uri.path_and_query()?.clone(),
        })
    }
}

/// Returns the region in `sns.REGION.amazonaws.com`, or in `sns.REGION.amazonaws.com.cn` for a region of China.
fn region_of_host(host: &str) -> Option<&str> {
    let rest = host.strip_prefix("sns.")?;
    let (region, china) = match rest.strip_suffix(".amazonaws.com.cn") {
        Some(region) => (region, true),
        None => (rest.strip_suffix(".amazonaws.com")?, false),
    };
    let named = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (named && !region.is_empty() && china == region.starts_with("cn-")).then_some(region)
}

/// Returns the region in `arn:PARTITION:sns:REGION:ACCOUNT:NAME`.
fn region_of_topic(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let ["arn", _, "sns", region] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?]
    else {
        return None;
    };
    Some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:cache-events";
    const PEM: &str = "SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem";

    #[test]
    fn certificates_lie_on_snss_own_host_in_the_topics_region() {
        let url =
            Host::Aws.certificate(&format!("https://sns.us-west-2.amazonaws.com/{PEM}"), TOPIC);
        let url = url.unwrap();
        assert_eq!((url.tls, &*url.host, url.port), (true, "sns.us-west-2.amazonaws.com", 443));
        assert_eq!(url.target.path(), format!("/{PEM}"));
        let china = "arn:aws-cn:sns:cn-north-1:123456789012:cache-events";
        let url = format!("https://sns.cn-north-1.amazonaws.com.cn/{PEM}");
        assert!(Host::Aws.certificate(&url, china).is_some());
        assert!(Host::Aws.certificate(&url, TOPIC).is_none());
    }

    #[test]
    fn no_other_address_is_one_of_sns() {
        for host in [
            "http://sns.us-west-2.amazonaws.com",
            "https://sns.us-west-2.amazonaws.com.example.com",
            "https://example.com/sns.us-west-2.amazonaws.com",
            "https://sns.us-west-2.amazonaws.com@example.com",
            "https://user@sns.us-west-2.amazonaws.com",
            "https://sns.us-west-2.amazonaws.com:8443",
            "https://sns.us-west-2.amazonaws.com:443",
            "https://sns.us-east-1.amazonaws.com",
            "https://sns..amazonaws.com",
            "https://sns.x.us-west-2.amazonaws.com",
            "https://bucket.s3.us-west-2.amazonaws.com",
            "https://s3.us-west-2.amazonaws.com/bucket",
            "https://sns.us-west-2.amazonaws.com.cn",
            "https://xsns.us-west-2.amazonaws.com",
            "https://SNS.us-west-2.amazonaws.com",
            "https://sns.us-west-2.amazonaws.com\\@example.com",
            "https://example.com#sns.us-west-2.amazonaws.com",
            "//sns.us-west-2.amazonaws.com",
            "file:///sns.us-west-2.amazonaws.com",
            "https://169.254.169.254",
        ] {
            assert_eq!(Host::Aws.certificate(&format!("{host}/{PEM}"), TOPIC), None, "{host}");
        }
    }

    #[test]
    fn only_files_named_as_certificates_are_asked_for() {
        for path in [
            "",
            "/",
            "/x.pem",
            "/SimpleNotificationService-.pem",
            "/SimpleNotificationService-9c64.pem?x=y",
            "/SimpleNotificationService-9c64.pem#x",
            "/SimpleNotificationService-9c64.txt",
            "/a/SimpleNotificationService-9c64.pem",
            "/SimpleNotificationService-../x.pem",
            "/?Action=Publish&x=/SimpleNotificationService-9c64.pem",
        ] {
            let url = format!("https://sns.us-west-2.amazonaws.com{path}");
            assert_eq!(Host::Aws.certificate(&url, TOPIC), None, "{path}");
        }
    }

    #[test]
    fn a_yes_is_said_to_the_topic_that_asks_and_nothing_else_is_done() {
        let at = |query: &str| {
            let url = format!("https://sns.us-west-2.amazonaws.com/{query}");
            Host::Aws.confirmation(&url, TOPIC)
        };
        let arn = TOPIC.replace(':', "%3A");
        assert!(
            at(&format!("?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=233641")).is_some()
        );
        assert!(at(&format!("?Token=233641&Action=ConfirmSubscription&TopicArn={arn}")).is_some());
        for query in [
            String::new(),
            "?".to_owned(),
            format!("?Action=DeleteTopic&TopicArn={TOPIC}&Token=233641"),
            format!("?Action=ConfirmSubscription&TopicArn={TOPIC}"),
            format!("?Action=ConfirmSubscription&TopicArn={TOPIC}&Token="),
            format!("?Action=ConfirmSubscription&TopicArn={TOPIC}-other&Token=233641"),
            format!("?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1&Action=DeleteTopic"),
            format!("?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1&Endpoint=x"),
            format!("x?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=233641"),
        ] {
            assert_eq!(at(&query), None, "{query}");
        }
        let elsewhere =
            format!("https://example.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1");
        assert_eq!(Host::Aws.confirmation(&elsewhere, TOPIC), None);
    }

    #[test]
    fn what_stands_for_sns_is_meant_to_the_letter_and_then_sns_itself_is_not() {
        let host = Host::new(Some("http://127.0.0.1:4566"));
        let url =
            host.certificate(&format!("http://127.0.0.1:4566/_aws/sns/{PEM}"), TOPIC).unwrap();
        assert_eq!((url.tls, &*url.host, url.port), (false, "127.0.0.1", 4566));
        for url in [
            format!("https://127.0.0.1:4566/{PEM}"),
            format!("http://127.0.0.1:45660/{PEM}"),
            format!("http://127.0.0.1/{PEM}"),
            format!("http://localhost:4566/{PEM}"),
            format!("https://sns.us-west-2.amazonaws.com/{PEM}"),
        ] {
            assert_eq!(host.certificate(&url, TOPIC), None, "{url}");
        }
    }
}
