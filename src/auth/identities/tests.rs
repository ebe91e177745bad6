use std::path::PathBuf;

use super::*;

/// A folder as the kubelet makes it for a Secret: `identities.yaml -> ..data/identities.yaml`, `..data -> ..1`.
struct Mounted(PathBuf);

impl Mounted {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hotset-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("..data/identities.yaml", folder.join("identities.yaml"))
            .unwrap();
        let mounted = Self(folder);
        mounted.swap("1", text);
        mounted
    }

    fn path(&self) -> PathBuf {
        self.0.join("identities.yaml")
    }

    fn swap(&self, version: &str, text: &str) {
        let folder = self.0.join(format!("..{version}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("identities.yaml"), text).unwrap();
        let link = self.0.join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{version}"), &link).unwrap();
        std::fs::rename(link, self.0.join("..data")).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with_key(access_key: &str) -> String {
    format!(
        "identities:\n  - name: n\n    access_key: {access_key}\n    secret_key: s\n    \
         allow: [{{ actions: [read], resources: [\"**\"] }}]\n"
    )
}

fn knows(identities: &Identities, access_key: &str) -> bool {
    identities.current().by_access_key(access_key).is_some()
}

#[test]
fn a_swapped_secret_takes_effect() {
    let mounted = Mounted::new("swap", &with_key("AK1"));
    let identities = Identities::load(mounted.path()).unwrap();
    let before = identities.current();
    identities.refresh();
    assert!(Arc::ptr_eq(&before, &identities.current()), "nothing changed");
    mounted.swap("2", &with_key("AK2"));
    identities.refresh();
    assert!(knows(&identities, "AK2") && !knows(&identities, "AK1"));
    assert!(before.by_access_key("AK1").is_some(), "who holds a set keeps it");
}

#[test]
fn a_broken_file_keeps_the_set_before_it_until_it_is_right_again() {
    let mounted = Mounted::new("broken", &with_key("AK1"));
    let identities = Identities::load(mounted.path()).unwrap();
    mounted.swap("2", "identities: [");
    identities.refresh();
    assert!(knows(&identities, "AK1"));
    let problem = identities.seen.lock().problem.clone().unwrap().to_string();
    assert!(problem.starts_with(&format!("{}: ", mounted.path().display())), "{problem}");
    std::fs::remove_file(mounted.0.join("..2/identities.yaml")).unwrap();
    identities.refresh();
    assert!(knows(&identities, "AK1"));
    let problem = identities.seen.lock().problem.clone().unwrap().to_string();
    assert!(problem.contains("cannot be read"), "{problem}");
    mounted.swap("3", &with_key("AK1"));
    identities.refresh();
    assert!(identities.seen.lock().problem.is_none());
    mounted.swap("4", &with_key("AK4"));
    identities.refresh();
    assert!(knows(&identities, "AK4"));
}

#[test]
fn a_file_is_watched_as_long_as_somebody_wants_it() {
    let mounted = Mounted::new("watch", &with_key("AK1"));
    let identities = Arc::new(Identities::load(mounted.path()).unwrap());
    identities.watch(Duration::from_millis(1)).unwrap();
    mounted.swap("2", &with_key("AK2"));
    let started = std::time::Instant::now();
    while !knows(&identities, "AK2") {
        assert!(started.elapsed() < Duration::from_secs(10), "it is not looked at");
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let error = Identities::load("/no/such/file.yaml").err().unwrap().to_string();
    assert!(error.starts_with("/no/such/file.yaml: cannot be read: "), "{error}");
}
