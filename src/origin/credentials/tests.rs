use super::*;

const TEXT: &str = "\u{feff}# comment\n\
    [default]\r\n\
    aws_access_key_id = AKDEFAULT\r\n\
    aws_secret_access_key=s3cr3t/+=#x\r\n\
    region = us-east-1\n\
    \n\
    [ work ] ; note\n\
    AWS_ACCESS_KEY_ID=AKWORK\n\
    ; aws_access_key_id=AKCOMMENT\n\
    aws_secret_access_key = hidden-material\n\
    aws_session_token = token==\n\
    [half]\n\
    aws_access_key_id=AKHALF\n\
    aws_secret_access_key=\n\
    [broken]\n\
    aws_access_key_id=AK BROKEN\n\
    aws_secret_access_key=hidden-material\n";

/// A file of its own for each test, removed with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hotset-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join(".aws")).unwrap();
        std::fs::write(folder.join(".aws/credentials"), text).unwrap();
        Self(folder)
    }

    fn home(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    fn path(&self) -> PathBuf {
        self.0.join(".aws/credentials")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: std::collections::HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name| pairs.get(name).cloned()
}

fn config(file: Option<PathBuf>, profile: &str) -> CredentialsConfig {
    CredentialsConfig { file, profile: profile.to_owned() }
}

fn parts(credentials: &Credentials) -> (&str, &str, Option<&str>) {
    let token = credentials.session_token().map(Secret::expose);
    (credentials.access_key(), credentials.secret_key().expose(), token)
}

#[test]
fn the_environment_wins_over_the_file_and_its_values_are_trimmed() {
    let file = TempFile::new("env", TEXT);
    let vars = [(ACCESS_KEY, "AKENV"), (SECRET_KEY, "from-env\n"), (SESSION_TOKEN, "t")];
    let loaded = load(&config(Some(file.path()), "work"), env(&vars)).unwrap();
    assert_eq!(parts(&loaded), ("AKENV", "from-env", Some("t")));
    let loaded = load(&config(Some(file.path()), "work"), env(&vars[..2])).unwrap();
    assert_eq!(parts(&loaded), ("AKENV", "from-env", None));
}

#[test]
fn half_a_pair_in_the_environment_is_an_error_that_names_the_other_half() {
    let nothing = config(None, "default");
    let cases = [
        (ACCESS_KEY, "AWS_SECRET_ACCESS_KEY is not set, but AWS_ACCESS_KEY_ID is"),
        (SECRET_KEY, "AWS_ACCESS_KEY_ID is not set, but AWS_SECRET_ACCESS_KEY is"),
    ];
    for (set, message) in cases {
        let error = load_or_anonymous(&nothing, env(&[(set, "x"), ("HOME", "/nowhere")]));
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}

#[test]
fn the_file_is_the_configured_one_else_the_named_one_else_the_usual_one() {
    let secret =
        |name: &str| format!("[default]\naws_access_key_id={name}\naws_secret_access_key=s");
    let configured = TempFile::new("configured", &secret("CONFIGURED"));
    let named = TempFile::new("named", &secret("NAMED"));
    let usual = TempFile::new("usual", &secret("USUAL"));
    let named_path = named.path();
    let home = usual.home();
    let vars = [("HOME", &*home), (FILE, named_path.to_str().unwrap())];
    let loaded = load(&config(Some(configured.path()), "default"), env(&vars)).unwrap();
    assert_eq!(loaded.access_key(), "CONFIGURED");
    let loaded = load(&config(None, "default"), env(&vars)).unwrap();
    assert_eq!(loaded.access_key(), "NAMED");
    let loaded = load(&config(None, "default"), env(&vars[..1])).unwrap();
    assert_eq!(loaded.access_key(), "USUAL");
}

#[test]
fn profiles_are_read_with_comments_blanks_and_either_line_end() {
    let file = TempFile::new("profiles", TEXT);
    let home = file.home();
    let loaded = load(&config(None, "default"), env(&[("HOME", &home)])).unwrap();
    assert_eq!(parts(&loaded), ("AKDEFAULT", "s3cr3t/+=#x", None));
    let loaded = load(&config(None, "work"), env(&[("HOME", &home)])).unwrap();
    assert_eq!(parts(&loaded), ("AKWORK", "hidden-material", Some("token==")));
}

#[test]
fn aws_profile_counts_where_the_configured_profile_is_the_default() {
    let file = TempFile::new("aws-profile", TEXT);
    let home = file.home();
    let vars = [("HOME", &*home), (PROFILE, "work")];
    let loaded = load(&config(None, "default"), env(&vars)).unwrap();
    assert_eq!(loaded.access_key(), "AKWORK");
    let error = load(&config(None, "half"), env(&vars)).unwrap_err();
    assert!(error.to_string().contains("profile [half]"), "{error}");
}

#[test]
fn a_missing_profile_or_key_is_named() {
    let file = TempFile::new("missing", TEXT);
    let path = file.path();
    let message = |profile| {
        let error = load_or_anonymous(&config(Some(file.path()), profile), env(&[])).unwrap_err();
        error.to_string()
    };
    let start = format!("credentials file {}: ", path.display());
    assert_eq!(message("absent"), format!("{start}there is no profile [absent]"));
    assert_eq!(message("half"), format!("{start}profile [half] has no aws_secret_access_key"));
}

#[test]
fn a_value_that_cannot_be_sent_is_refused_without_showing_a_secret() {
    let file = TempFile::new("broken", TEXT);
    let error = load(&config(Some(file.path()), "broken"), env(&[])).unwrap_err().to_string();
    assert!(error.contains("profile [broken]: the access key id"), "{error}");
    assert!(!error.contains("hidden-material"), "{error}");
}

#[test]
fn a_named_file_must_exist_but_the_usual_one_need_not() {
    let home = std::env::temp_dir().join("hotset-no-such-home");
    let vars = [("HOME", home.to_str().unwrap())];
    let absent = home.join("absent");
    let named = load_or_anonymous(&config(Some(absent.clone()), "default"), env(&vars));
    assert!(matches!(named, Err(CredentialsError::Unreadable { path, .. }) if path == absent));
    let by_variable = [vars[0], (FILE, absent.to_str().unwrap())];
    let named = load_or_anonymous(&config(None, "default"), env(&by_variable));
    assert!(matches!(named, Err(CredentialsError::Unreadable { .. })));

    let nothing = config(None, "default");
    let error = load(&nothing, env(&vars)).unwrap_err().to_string();
    let start = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ";
    assert_eq!(error, format!("{start}{}", home.join(".aws/credentials").display()));
    assert!(load_or_anonymous(&nothing, env(&vars)).unwrap().is_none());
    let empty = [vars[0], (ACCESS_KEY, ""), (SECRET_KEY, " ")];
    assert!(load_or_anonymous(&nothing, env(&empty)).unwrap().is_none());
}
