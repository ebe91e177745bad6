//! `hotset top` and `GET /api/v1/top` of a running server.

use serde_json::Value;

use crate::support::*;

/// Arguments of `hotset top`, and the expected names with their counts.
type Hottest = (&'static [&'static str], &'static [(&'static str, f64)]);

async fn start(s3: &FakeS3, scratch: &Scratch) -> (Process, String) {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\norigin: {{ endpoint: '{}' }}\n",
        s3.endpoint()
    );
    let config = scratch.file("hotset.yaml", &text);
    let process = Process::serve(&config).await;
    (process, config)
}

async fn top(process: &Process, arguments: &[&str]) -> (i32, String) {
    let admin = format!("http://{}", process.admin);
    let command = hotset(&[&["top", "--admin", &admin], arguments].concat());
    let ended = tokio::task::spawn_blocking(move || run(command));
    let (code, out, err) = within("hotset top", ended).await.expect("it does not panic");
    assert_eq!(err, "");
    (code, out)
}

/// Returns names with their shares in percent, without rates, which depend on the clock.
fn shares(out: &str) -> Vec<(String, f64)> {
    let rows = out.lines().filter_map(|line| line.split_once("/s ")).skip(1);
    let row = |(_, rest): (&str, &str)| {
        let (share, name) = rest.split_once(" %  ").expect("a share");
        (name.to_owned(), share.trim().parse().expect("a number"))
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn the_hottest_names_are_listed_in_order_by_each_amount() {
    let (s3, scratch) = (FakeS3::start().await, Scratch::new());
    s3.put("data", "models/a", Object::random(1000, 1));
    s3.put("data", "models/b", Object::random(99_000, 2));
    let (process, _config) = start(&s3, &scratch).await;
    let (code, out) = top(&process, &[]).await;
    assert_eq!((code, out.lines().nth(1)), (3, Some("nothing in the last minutes")), "{out}");
    let client = process.client();
    for (key, reads) in [("models/a", 7), ("models/b", 2), ("none", 1)] {
        for _ in 0..reads {
            client.get(&format!("/data/{key}")).send().await;
        }
    }
    let expected: [Hottest; 5] = [
        (
            &["--of", "objects"],
            &[("data/models/a", 70.0), ("data/models/b", 20.0), ("data/none", 10.0)],
        ),
        (&["--of", "prefixes"], &[("data/", 100.0), ("data/models/", 90.0)]),
        (&["--of", "addresses"], &[("127.0.0.1", 100.0)]),
        (&["--by", "errors"], &[("data/none", 100.0)]),
        (&["--by", "requests", "--limit", "1"], &[("data/models/a", 70.0)]),
    ];
    for (arguments, rows) in expected {
        let (code, out) = top(&process, arguments).await;
        let shares = shares(&out);
        assert_eq!((code, shares.len()), (0, rows.len()), "{out}");
        for ((name, share), (expected, of_all)) in shares.iter().zip(rows) {
            // Earlier requests weigh a little less.
            assert!(name == expected && (share - of_all).abs() < 5.0, "{out}");
        }
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    }
    let (_, out) = top(&process, &["--by", "misses"]).await;
    assert_eq!(shares(&out).len(), 3, "each was a miss once: {out}");
    let (code, json) = top(&process, &["--json", "--once", "--by", "bytes"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["entries"][0]["name"]), (0, &"data/models/b".into()), "{json}");
    assert_eq!((&json["sampled_one_in"], &json["error_share"]), (&1.into(), &(1.0 / 256.0).into()));
    // 198,000 of 205,000 bytes, and the body of the error.
    let share = json["entries"][0]["share"].as_f64().unwrap();
    assert!(share > 0.95 && share < 0.98, "{json}");
    assert_eq!(top(&process, &["--of", "identities"]).await.0, 3, "nobody has a name in `trust`");
}

#[tokio::test]
async fn wrong_questions_name_what_there_is() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let api = Api::new(proxy.admin);
    for (query, why) in [
        ("of=object", "of: `object` is none of objects, prefixes, identities, addresses"),
        ("by=hits", "by: `hits` is none of requests, bytes, misses, errors"),
        ("limit=0", "limit: it is a number from 1 to 256"),
        ("limit=x", "limit: it is a number from 1 to 256"),
        ("kind=objects", "kind: there are only of, by and limit"),
    ] {
        let (status, body) = api.get(&format!("/api/v1/top?{query}")).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(why)));
    }
    assert_eq!(api.post("/api/v1/top", "{}").await.0, 405);
}
