//! `docs/reference/http-api.yaml` against the running server and the code: each path, method, status, content type and field.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hotset::events::webhook::config::WebhookConfig;
use http::Method;
use serde_json::{Map, Value, json};

use crate::support::{Api, Client, FakeS3, Object, Request, Response, TestProxy};

const FILE: &str = "docs/reference/http-api.yaml";
const TOKEN: &str = "a-made-up-token-of-16";
const READ_TOKEN: &str = "made-up-read-token-of-24";
const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];

/// Statuses that need a failing disk, many jobs, or a slow sender; other tests show them.
const SHOWN_ELSEWHERE: [&str; 4] = ["408", "409", "429", "503"];

struct Description(Value);

/// One method of one path.
struct Operation<'a> {
    path: &'a str,
    method: Method,
    fields: &'a Value,
    /// Whether the operation belongs to the event listener.
    is_webhook: bool,
}

impl Description {
    fn read() -> Self {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        Self(hotset::yaml::from_str(&text).unwrap())
    }

    fn paths(&self) -> &Map<String, Value> {
        self.0["paths"].as_object().unwrap()
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.paths() {
            let is_webhook = item.get("servers").is_some();
            for (method, fields) in item.as_object().unwrap() {
                if METHODS.contains(&method.as_str()) {
                    let method = method.to_uppercase().parse().unwrap();
                    operations.push(Operation { path, method, fields, is_webhook });
                }
            }
        }
        operations
    }

    /// Returns the value, or the target of its `$ref`.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(path) => self.0.pointer(path.strip_prefix('#').unwrap()).expect("a $ref leads"),
            None => value,
        }
    }

    /// Asserts that the operation describes the status, content type and fields of a response.
    fn assert_described(&self, operation: &Operation<'_>, answer: &Response) {
        let shown = format!("{} {}: {answer:?}", operation.method, operation.path);
        let described = &operation.fields["responses"][answer.status.as_str()];
        assert!(!described.is_null(), "{FILE} does not have the status of {shown}");
        let content = self.resolved(described)["content"].as_object().expect("content");
        let kind = answer.header("content-type").split(';').next().unwrap();
        let schema = content.get(kind).unwrap_or_else(|| panic!("the content type of {shown}"));
        if kind == "application/json" {
            let value = serde_json::from_str(&answer.text()).unwrap();
            let mut known = BTreeSet::new();
            self.assert_fits(&value, &schema["schema"], &mut known, &shown);
            if self.resolved(&schema["schema"])["additionalProperties"] == true {
                return;
            }
            let fields = value.as_object().unwrap().keys();
            let unknown: Vec<_> = fields.filter(|field| !known.contains(*field)).collect();
            assert!(unknown.is_empty(), "{FILE} does not have {unknown:?} of {shown}");
        }
    }

    /// Asserts types and required fields, and adds the names of the object's fields to `known`.
    fn assert_fits(
        &self,
        value: &Value,
        schema: &Value,
        known: &mut BTreeSet<String>,
        shown: &str,
    ) {
        let schema = self.resolved(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.assert_fits(value, part, known, shown);
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().collect(),
            Value::Null => vec![],
            one => vec![one],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) if types.contains(&&json!("number")) => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(types.is_empty() || types.contains(&&json!(kind)), "{value} is {kind}: {shown}");
        for item in value.as_array().into_iter().flatten() {
            self.assert_fits(item, &schema["items"], &mut BTreeSet::new(), shown);
        }
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(field.as_str().unwrap()).is_some(), "{field} is missing: {shown}");
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            known.insert(name.clone());
            if let Some(field) = value.get(name) {
                self.assert_fits(field, schema, &mut BTreeSet::new(), shown);
            }
        }
    }
}

impl Operation<'_> {
    /// Returns the described statuses, except those that other tests show.
    fn statuses(&self) -> BTreeSet<String> {
        let statuses = self.fields["responses"].as_object().unwrap().keys().cloned();
        statuses.filter(|status| !SHOWN_ELSEWHERE.contains(&status.as_str())).collect()
    }

    /// Whether the response may be an endless stream.
    fn is_stream(&self) -> bool {
        self.fields["responses"]["200"]["content"].get("application/x-ndjson").is_some()
    }

    /// Returns the parameters that have an example, as a query.
    fn query(&self) -> String {
        let parameters = self.fields["parameters"].as_array().into_iter().flatten();
        let pair = |parameter: &Value| {
            let example = parameter["example"].as_str()?;
            Some(format!("{}={example}", parameter["name"].as_str()?))
        };
        let pairs: Vec<String> = parameters.filter_map(pair).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// Returns a valid request: the example, if it has a body or parameters.
    fn request(&self, client: &Client, id: &str) -> Request {
        let path = self.path.replace("{id}", id) + &self.query();
        let request = client.request(self.method.clone(), &path);
        match self.fields.get("requestBody") {
            Some(body) => {
                let example = &body["content"]["application/json"]["example"];
                assert!(example.is_object(), "{} {} has no example", self.method, self.path);
                request.header("content-type", "application/json").body(example.to_string())
            }
            None => request,
        }
    }

    /// Returns valid requests, and requests with one mistake each.
    fn requests(&self, open: &Client, closed: &Client, id: &str) -> Vec<Request> {
        let token = format!("Bearer {TOKEN}");
        let mut requests =
            vec![self.request(closed, id).header("authorization", &token), self.request(open, id)];
        if self.path.contains("{id}") {
            requests.push(self.request(closed, "none").header("authorization", &token));
        }
        if self.fields.get("security").is_some() {
            requests.push(self.request(closed, id));
            // Where the read token is allowed, the response is the same.
            let read_token = format!("Bearer {READ_TOKEN}");
            requests.push(self.request(closed, id).header("authorization", &read_token));
            let other =
                self.request(closed, id).header("authorization", "Bearer another-one-of-16-bytes");
            requests.push(other);
            requests.push(self.request(open, id).host("rebound.example.org"));
        }
        if !self.query().is_empty() {
            if !self.is_stream() {
                requests.push(open.request(self.method.clone(), self.path));
            }
            requests.push(open.request(self.method.clone(), &format!("{}?%zz", self.path)));
        }
        if self.fields.get("requestBody").is_some() {
            let sent = || self.request(closed, id).header("authorization", &token);
            requests.push(sent().body("{"));
            requests.push(sent().body(vec![b' '; (4 << 20) + 1]));
            let plain = closed.request(self.method.clone(), self.path).body("{}");
            requests.push(plain.header("authorization", &token));
        }
        requests
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Starts a server with an event listener; also returns a warm job of it.
async fn start(s3: &FakeS3, token: Option<&'static str>) -> (TestProxy, String) {
    let proxy = TestProxy::start_with(s3, |config| {
        config.admin.token = token.map(Into::into);
        config.admin.read_token = token.map(|_| READ_TOKEN.into());
        let tokens = token.into_iter().map(Into::into).collect();
        let address = "127.0.0.1:0".to_owned();
        config.events.webhook = Some(WebhookConfig { address, tokens, ..WebhookConfig::default() });
    })
    .await;
    let api = match token {
        Some(token) => Api::with_token(proxy.admin, token),
        None => Api::new(proxy.admin),
    };
    let job = api.warm(r#"{"keys":["s3://data/models/a.bin"]}"#).await;
    (proxy, job["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_server_answers_as_the_description_of_the_api_says() {
    let s3 = FakeS3::start().await;
    s3.put("data", "models/a.bin", Object::random(5000, 1));
    let (closed, job) = start(&s3, Some(TOKEN)).await;
    let (open, _) = start(&s3, None).await;
    let description = Description::read();
    for operation in description.operations() {
        let of = |proxy: &TestProxy| match operation.is_webhook {
            true => Client::new(proxy.webhook.unwrap()),
            false => Client::new(proxy.admin),
        };
        let mut seen = BTreeSet::new();
        for request in operation.requests(&of(&open), &of(&closed), &job) {
            let answer = request.send().await;
            // The job belongs to the other server.
            if !(operation.path.contains("{id}") && answer.status == 404) {
                description.assert_described(&operation, &answer);
            }
            seen.insert(answer.status.as_str().to_owned());
        }
        let shown = format!("{} {}", operation.method, operation.path);
        assert_eq!(seen, operation.statuses(), "{shown}");
    }
}

#[tokio::test]
async fn the_read_token_opens_what_the_description_says_and_nothing_else() {
    let s3 = FakeS3::start().await;
    s3.put("data", "models/a.bin", Object::random(5000, 1));
    let (closed, job) = start(&s3, Some(TOKEN)).await;
    let client = Client::new(closed.admin);
    let description = Description::read();
    let (mut opened, mut refused) = (0, 0);
    for operation in description.operations().iter().filter(|operation| !operation.is_webhook) {
        let Some(security) = operation.fields["security"].as_array() else { continue };
        let request = operation.request(&client, &job);
        let answer = request.header("authorization", &format!("Bearer {READ_TOKEN}")).send().await;
        let shown = format!("{} {}: {answer:?}", operation.method, operation.path);
        if security.iter().any(|scheme| scheme.get("readToken").is_some()) {
            assert!(answer.status.is_success(), "{shown}");
            opened += 1;
        } else {
            assert_eq!(answer.status, 403, "{shown}");
            assert!(answer.text().contains("admin.read_token may only read"), "{shown}");
            refused += 1;
        }
    }
    assert!(opened >= 7 && refused >= 5, "{opened} opened, {refused} refused");
    // Nor does the token work as that of another replica.
    let lease = client.post("/cluster/v1/lease").header("content-type", "application/json");
    let lease = lease.header("authorization", &format!("Bearer {READ_TOKEN}")).body("{}");
    assert_eq!(lease.send().await.status, 403);
}

#[tokio::test]
async fn the_description_of_the_api_has_every_method_of_each_path() {
    let s3 = FakeS3::start().await;
    s3.put("data", "models/a.bin", Object::random(5000, 1));
    let (proxy, job) = start(&s3, None).await;
    let description = Description::read();
    for (path, item) in description.paths() {
        let address =
            if item.get("servers").is_some() { proxy.webhook.unwrap() } else { proxy.admin };
        let request = Client::new(address).request(Method::PUT, &path.replace("{id}", &job));
        let answer = request.send().await;
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        let allowed: BTreeSet<String> =
            answer.header("allow").split(", ").map(str::to_lowercase).collect();
        let described = METHODS.iter().filter(|method| item.get(**method).is_some());
        assert_eq!(allowed, described.map(|method| (*method).to_owned()).collect(), "{path}");
    }
}

/// Returns the paths in the code of the admin port: string literals that begin with a slash.
fn paths_in_code() -> BTreeSet<String> {
    let mut folders = vec![root().join("src/admin")];
    let mut paths = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for text in code.split('"').skip(1).step_by(2) {
                let is_path = text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
                if text.starts_with('/') && is_path {
                    paths.insert(text.to_owned());
                }
            }
        }
    }
    paths
}

#[test]
fn every_path_in_the_code_of_the_admin_port_is_in_the_description_of_the_api() {
    let description = Description::read();
    let paths = paths_in_code();
    assert!(paths.contains("/metrics") && paths.contains("/api/v1/purge"), "{paths:?}");
    for path in paths {
        // Prefixes of described paths, and the protocol between replicas.
        if ["/api/", "/cluster/"].contains(&path.as_str()) {
            continue;
        }
        let described = match path.len() > 1 && path.ends_with('/') {
            true => format!("{path}{{id}}"),
            false => path,
        };
        assert!(description.paths().contains_key(&described), "{FILE} does not have {described}");
    }
}
