//! Tests in a network of their own, with a name server of their own.

use std::env;
use std::process::Command;

use super::child::run;
use super::scratch::Scratch;

/// Variable that is set in the process which runs inside.
const INSIDE: &str = "HOTSET_TEST_IN_OWN_NETWORK";
/// Sets up the loopback interface and the resolver; the rest of the arguments is the program.
const SET_UP: &str = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && { test ! -e /etc/nsswitch.conf || \
                      mount --bind \"$2\" /etc/nsswitch.conf; } && shift 2 && exec \"$@\"";

/// Runs `test` in a process whose network has a loopback interface only, with a name server at its port 53. `name` is
/// the test's own, with its modules.
///
/// # Panics
/// When the test fails, or the machine allows no user namespaces, or has no `unshare` or `ip`.
pub fn in_own_network(name: &str, test: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
        return;
    }
    let scratch = Scratch::new();
    let resolver = "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n";
    let resolver = scratch.file("resolv.conf", resolver);
    let switch = scratch.file("nsswitch.conf", "hosts: files dns\n");
    let mut command = Command::new("unshare");
    command.args(["-Urnm", "sh", "-c", SET_UP, "sh", &resolver, &switch]);
    command.arg(env::current_exe().expect("a path")).args(["--exact", name, "--nocapture"]);
    command.env(INSIDE, "1");
    let (code, out, err) = run(command);
    assert!(
        code == 0 && out.contains("test result: ok. 1 passed"),
        "{name} in a network of its own, which needs user namespaces, `unshare` and `ip`: {code}\n{out}\n{err}"
    );
}
