//! Checks of the kinds of `origin.endpoint` and `buckets.NAME.bucket` at AWS: unsupported ones are refused with the
//! reason.

use super::values::wrong;
use crate::config::ConfigError;
use crate::origin::config::{Addressing, OriginConfig};
use crate::origin::{AccessPoint, DirectoryBucket, NotAnAccessPoint};

/// Checks an endpoint whose kind is recognised by its name.
pub(super) fn check(origin: &OriginConfig) -> Result<(), ConfigError> {
    const KEY: &str = "origin.endpoint";
    let Ok(uri) = origin.endpoint.parse::<http::Uri>() else { return Ok(()) };
    let host = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    if !host.contains(".amazonaws.com") {
        return Ok(());
    }
    let has = |label: &str| host.split('.').any(|part| part == label);
    if has("s3-global") || has("mrap") {
        return wrong(
            KEY,
            "a multi-region access point needs signatures of SigV4A, which hotset does not make",
        );
    }
    if has("s3-outposts") {
        return wrong(KEY, "S3 on Outposts is not supported");
    }
    if has("s3-object-lambda") {
        return wrong(
            KEY,
            "S3 Object Lambda is not supported: what it answers has no stable version",
        );
    }
    if host.starts_with("s3express-") || host.contains(".s3express-") {
        return wrong(
            KEY,
            "S3 Express One Zone has an endpoint for each bucket: name the bucket in `buckets`, and hotset finds its own",
        );
    }
    if has("s3-accelerate") && origin.addressing != Addressing::Virtual {
        return wrong("origin.addressing", "Transfer Acceleration takes virtual addressing only");
    }
    if has("s3-accesspoint") && origin.addressing != Addressing::Bucket {
        return wrong(
            "origin.addressing",
            "the endpoint is one access point's: it must be `bucket`",
        );
    }
    Ok(())
}

/// Checks the ARN in place of the name of a bucket at this origin.
pub(super) fn check_arn(key: &str, arn: &str, origin: &OriginConfig) -> Result<(), ConfigError> {
    match AccessPoint::parse(arn) {
        Ok(_) => check_way(key, arn, origin),
        Err(NotAnAccessPoint::MultiRegion) => wrong(
            key,
            "a multi-region access point needs signatures of SigV4A, which hotset does not make",
        ),
        Err(NotAnAccessPoint::Outposts) => wrong(key, "S3 on Outposts is not supported"),
        Err(NotAnAccessPoint::ObjectLambda) => wrong(key, "S3 Object Lambda is not supported"),
        Err(NotAnAccessPoint::Other) => wrong(
            key,
            format_args!(
                "`{arn}` is not the ARN of an access point, arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"
            ),
        ),
    }
}

/// Refuses an origin whose way to AWS is lost by an endpoint of the bucket's own.
fn check_way(key: &str, bucket: &str, origin: &OriginConfig) -> Result<(), ConfigError> {
    let uri: Option<http::Uri> = origin.endpoint.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| host.split('.').any(|label| label == name);
    if !host.contains(".amazonaws.com") {
        return Ok(());
    }
    if has("s3-accelerate") {
        return wrong(
            key,
            format_args!("`{bucket}` has no Transfer Acceleration: name another origin"),
        );
    }
    if has("vpce") {
        return wrong(
            key,
            format_args!(
                "`{bucket}` has an endpoint of its own, which is not reached by that of a VPC: name its endpoint in \
                 `origins`, with `addressing: bucket`"
            ),
        );
    }
    Ok(())
}

/// Checks a directory bucket of S3 Express One Zone at this origin.
pub(super) fn check_directory_bucket(
    key: &str,
    name: &str,
    (origin, is_anonymous): (&OriginConfig, bool),
) -> Result<(), ConfigError> {
    if DirectoryBucket::parse(name).is_none() {
        return wrong(
            key,
            format_args!("`{name}` ends as a directory bucket does, and is not NAME--ZONE--x-s3"),
        );
    }
    let uri: Option<http::Uri> = origin.endpoint.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    if !host.to_ascii_lowercase().contains(".amazonaws.com") {
        return wrong(key, format_args!("`{name}` is a directory bucket, which only AWS has"));
    }
    if is_anonymous {
        return wrong(
            key,
            format_args!("`{name}` is a directory bucket, which is not read without credentials"),
        );
    }
    check_way(key, name, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_cannot_work_are_refused_with_the_reason() {
        let checked = |endpoint: &str, addressing| {
            let endpoint = endpoint.to_owned();
            let origin = OriginConfig { endpoint, addressing, ..OriginConfig::default() };
            check(&origin).map_or_else(|error| error.to_string(), |()| String::new())
        };
        for (endpoint, reason) in [
            ("https://a.accesspoint.s3-global.amazonaws.com", "SigV4A"),
            ("https://a-1.op-1.s3-outposts.us-east-1.amazonaws.com", "Outposts"),
            ("https://a-1.s3-object-lambda.us-east-1.amazonaws.com", "Object Lambda"),
            ("https://s3express-use1-az4.us-east-1.amazonaws.com", "`buckets`"),
            ("https://s3-accelerate.amazonaws.com", "virtual"),
            ("https://a-1.s3-accesspoint.us-east-1.amazonaws.com", "`bucket`"),
        ] {
            let problem = checked(endpoint, Addressing::Path);
            assert!(problem.contains(reason), "{endpoint}: {problem}");
        }
        for (endpoint, addressing) in [
            ("https://s3.us-east-1.amazonaws.com", Addressing::Path),
            ("https://s3-accelerate.dualstack.amazonaws.com", Addressing::Virtual),
            ("https://a-1.s3-accesspoint.us-east-1.amazonaws.com", Addressing::Bucket),
            ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", Addressing::Path),
            ("https://s3-outposts.example.com", Addressing::Path),
        ] {
            assert_eq!(checked(endpoint, addressing), "", "{endpoint}");
        }
    }

    #[test]
    fn arns_that_cannot_be_reached_are_refused_with_the_reason() {
        for (arn, reason) in [
            ("arn:aws:s3::1:accesspoint/a.mrap", "SigV4A"),
            ("arn:aws:s3-outposts:us-east-1:1:outpost/o/accesspoint/a", "Outposts"),
            ("arn:aws:s3-object-lambda:us-east-1:1:accesspoint/a", "Object Lambda"),
            ("arn:aws:s3:::bucket", "is not the ARN of an access point"),
            ("arn:aws:s3:us-east-1:1:accesspoint/a/object/k", "is not the ARN"),
        ] {
            let origin = OriginConfig::default();
            let problem = check_arn("buckets.a.bucket", arn, &origin).unwrap_err().to_string();
            assert!(problem.contains(reason), "{arn}: {problem}");
        }
    }

    #[test]
    fn a_bucket_with_an_endpoint_of_its_own_is_refused_where_the_origins_way_would_be_left() {
        let arn = "arn:aws:s3:us-east-1:111122223333:accesspoint/a";
        let (key, express) = ("buckets.a.bucket", "fast--use1-az4--x-s3");
        for (endpoint, reason) in [
            ("https://s3.us-east-1.amazonaws.com", ""),
            ("https://s3-fips.dualstack.us-east-1.amazonaws.com", ""),
            ("https://s3-accelerate.amazonaws.com", "no Transfer Acceleration"),
            ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", "`addressing: bucket`"),
        ] {
            let origin = OriginConfig { endpoint: endpoint.to_owned(), ..OriginConfig::default() };
            for checked in [
                check_arn(key, arn, &origin),
                check_directory_bucket(key, express, (&origin, false)),
            ] {
                let problem = checked.map_or_else(|error| error.to_string(), |()| String::new());
                let is_told = problem.contains(reason) && problem.is_empty() == reason.is_empty();
                assert!(is_told, "{endpoint}: {problem}");
            }
        }
        // Another provider's endpoint has no variants.
        let endpoint = "https://s3.vpce.example.com".to_owned();
        check_arn(key, arn, &OriginConfig { endpoint, ..OriginConfig::default() }).unwrap();
    }
}
