use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::auth::form::{Field, FilePart};

/// 2024-01-01T00:00:00Z.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(473_352)
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let list = pairs.iter().map(|(name, value)| Field::new((*name).into(), (*value).into()));
    Fields::new(list.collect(), &FilePart::default()).unwrap()
}

/// Checks a form for `bkt` with `key=a/k` and more fields against a policy with these conditions.
fn says(conditions: &str, more: &[(&str, &str)]) -> Result<Option<SizeRange>, String> {
    let json = format!("{{\"expiration\":\"2024-01-01T00:00:01Z\",\"conditions\":[{conditions}]}}");
    check(&json, more)
}

fn check(json: &str, more: &[(&str, &str)]) -> Result<Option<SizeRange>, String> {
    let pairs = [&[("key", "a/k"), ("policy", "p"), ("X-Amz-Signature", "s")], more].concat();
    let told = |error: S3Error| format!("{} {}", error.status.as_u16(), error.message);
    let policy = Policy::parse(&STANDARD.encode(json)).map_err(told)?;
    policy.check(&BucketName::new("bkt").unwrap(), &fields(&pairs), now()).map_err(told)
}

const BOTH: &str = "{\"bucket\":\"bkt\"},[\"starts-with\",\"$key\",\"a/\"]";

#[test]
fn a_form_inside_its_policy_is_let_through() {
    let meta = ("x-amz-meta-a", "Some, Value");
    for (conditions, more) in [
        ("", vec![]),
        (",{\"X-AMZ-Meta-A\":\"Some, Value\"}", vec![meta]),
        (",[\"eq\",\"$x-amz-META-a\",\"Some, Value\"]", vec![meta]),
        (",[\"Starts-With\",\"$x-amz-meta-a\",\"\"]", vec![meta]),
        (
            ",[\"starts-with\",\"$x-amz-meta-a\",\"So\"],{\"x-amz-meta-a\":\"Some, Value\"}",
            vec![meta],
        ),
        (
            ",[\"starts-with\",\"$Content-Type\",\"image/\"]",
            vec![("content-type", "image/a,image/b")],
        ),
        (",{\"acl\":\"private\"}", vec![("ACL", "private"), ("x-ignore-a", "b")]),
        (",{\"success_action_redirect\":\"\"}", vec![("success_action_redirect", "")]),
    ] {
        assert_eq!(says(&format!("{BOTH}{conditions}"), &more), Ok(None), "{conditions}");
    }
}

#[test]
fn r21_a_form_outside_its_policy_is_refused() {
    let failed = |condition: &str| {
        Err(format!("403 Invalid according to Policy: Policy Condition failed: {condition}"))
    };
    for (conditions, more, condition) in [
        ("{\"bucket\":\"other\"}", vec![], "[\"eq\", \"$bucket\", \"other\"]"),
        ("{\"key\":\"a/l\"}", vec![], "[\"eq\", \"$key\", \"a/l\"]"),
        ("[\"eq\",\"$Key\",\"A/k\"]", vec![], "[\"eq\", \"$Key\", \"A/k\"]"),
        ("[\"eq\",\"key\",\"a/k\"]", vec![], "[\"eq\", \"key\", \"a/k\"]"),
        ("[\"starts-with\",\"$key\",\"b/\"]", vec![], "[\"starts-with\", \"$key\", \"b/\"]"),
        ("[\"starts-with\",\"$acl\",\"\"]", vec![], "[\"starts-with\", \"$acl\", \"\"]"),
        (
            "[\"starts-with\",\"$Content-Type\",\"image/\"]",
            vec![("Content-Type", "image/a,text/plain")],
            "[\"starts-with\", \"$Content-Type\", \"image/\"]",
        ),
        (
            "{\"x-amz-meta-a\":\"with \\\"quotes\\\"\"}",
            vec![("x-amz-meta-a", "x")],
            "[\"eq\", \"$x-amz-meta-a\", \"with \\\"quotes\\\"\"]",
        ),
        (
            "[\"content-length-range\",\"test\",\"10\"]",
            vec![],
            "[\"content-length-range\", \"test\", \"10\"]",
        ),
    ] {
        assert_eq!(says(&format!("{BOTH},{conditions}"), &more), failed(condition), "{conditions}");
    }
}

#[test]
fn r21_a_field_that_no_condition_names_is_refused() {
    let extra =
        |name: &str| Err(format!("403 Invalid according to Policy: Extra input fields: {name}"));
    for name in ["acl", "x-amz-meta-a", "X-Amz-Date", "submit", "Content-Type", "AWSAccessKeyId"] {
        assert_eq!(says(BOTH, &[(name, "x")]), extra(name));
    }
    assert_eq!(says("{\"bucket\":\"bkt\"}", &[]), extra("key"));
    assert_eq!(says("{\"key\":\"a/k\"}", &[]), extra("bucket"));
    assert_eq!(says("", &[]), extra("bucket"));
}

#[test]
fn a_policy_ends() {
    let with = |expiration: &str| {
        check(&format!("{{\"expiration\":\"{expiration}\",\"conditions\":[{BOTH}]}}"), &[])
    };
    for later in ["2024-01-01T00:00:00.001Z", "2024-01-01T00:00:01Z", "2999-12-31T23:59:59Z"] {
        assert_eq!(with(later), Ok(None), "{later}");
    }
    for ended in ["2024-01-01T00:00:00.000Z", "2023-12-31T23:59:59Z", "1969-01-01T00:00:00Z"] {
        let expired = "403 Invalid according to Policy: Policy expired.";
        assert_eq!(with(ended), Err(expired.to_owned()), "{ended}");
    }
    for unreadable in ["2024-01-01T02:00:01+02:00", "2024-01-01 00:00:01Z", "2024-01-02", "", "x"] {
        let problem = format!("400 Invalid Policy: Invalid 'expiration' value: '{unreadable}'");
        assert_eq!(with(unreadable), Err(problem));
    }
}

#[test]
fn a_range_holds_for_the_file_and_several_hold_together() {
    let range = |text: &str| says(&format!("{BOTH},[\"content-length-range\",{text}]"), &[]);
    assert_eq!(range("5, 10"), Ok(Some(SizeRange { min: 5, max: 10 })));
    assert_eq!(range("\"0\", \"10\""), Ok(Some(SizeRange { min: 0, max: 10 })));
    let two = range("5,10],[\"Content-Length-Range\",0,7");
    assert_eq!(two, Ok(Some(SizeRange { min: 5, max: 7 })));
    for unreadable in ["0", "0,1,2", "-1,0", "0,512.0", "0,null", "0,[1]", "0,true"] {
        let refused = range(unreadable).unwrap_err();
        assert!(refused.starts_with("400 Invalid Policy: "), "{unreadable}: {refused}");
    }
}

#[test]
fn a_document_that_is_none_is_refused() {
    let refused = |json: &str| check(json, &[]).unwrap_err();
    let conditions = format!("\"conditions\":[{BOTH}]");
    let ends = "\"expiration\":\"2025-01-01T00:00:00Z\"";
    let nested = format!("{{{ends},\"conditions\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    for json in [
        "",
        "x",
        "[]",
        "{}",
        &format!("{{{ends}}}"),
        &format!("{{{conditions}}}"),
        &format!("{{{ends},\"CONDITIONS\":[{BOTH}]}}"),
        &format!("{{{ends},{ends},{conditions}}}"),
        &format!("{{{ends},{conditions},\"statement\":1}}"),
        &format!("{{{ends},\"conditions\":{{}}}}"),
        &format!("{{{ends},\"conditions\":[1]}}"),
        &format!("{{{ends},\"conditions\":[[[]]]}}"),
        &format!("{{{ends},{conditions}}}}}"),
        &format!("{{{ends},{conditions},}}"),
        &nested,
    ] {
        assert_eq!(refused(json), "400 Invalid Policy: Invalid JSON.", "{json:.80}");
    }
    for (condition, problem) in [
        (
            "{}",
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ),
        (
            "{\"acl\":\"a\",\"acl\":\"a\"}",
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ),
        ("{\"Content-Length\":6}", "Invalid Simple-Condition: value must be a string."),
        ("[]", "Invalid Condition: missing operation identifier."),
        ("[\"ends-with\",\"$key\",\"k\"]", "Invalid Condition: unknown operation 'ends-with'."),
        ("[\"eq\",\"$key\"]", "Invalid eq: wrong number of arguments."),
    ] {
        let json = format!("{{{ends},\"conditions\":[{BOTH},{condition}]}}");
        assert_eq!(refused(&json), format!("400 Invalid Policy: {problem}"), "{condition}");
    }
    for encoded in ["e30", "e30=\n", " e30=", "_w=="] {
        let told = Policy::parse(encoded).unwrap_err().message;
        assert_eq!(told, "Invalid Policy: Invalid Base64 encoding.", "{encoded:?}");
    }
}
