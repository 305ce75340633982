//! Where ssh cannot log in, the message says why and what to do, and that helps: each `next:` is followed here.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use crate::agent::{AUTHORIZED_KEYS, key_pair};
use crate::look::assert_same_newest;
use crate::outcome::assert_reports;
use crate::world::{GUEST, World};

/// Runs a program, which must succeed.
fn by_hand(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

#[test]
fn each_login_that_fails_is_named_with_what_helps_and_that_helps() {
    let mut world = World::new("logins");
    let files = world.filesystem(GUEST, 1);
    let directory = world.directory().to_owned();
    let path = |name: &str| directory.join(name).display().to_string();
    let (config, hosts, key) = (path("ssh_config"), path("known_hosts"), path("key"));
    let all = |lines: &str| {
        fs::write(&config, format!("Host *\n  User root\n{lines}")).unwrap();
    };
    let own = format!("  UserKnownHostsFile {hosts}\n  GlobalKnownHostsFile /dev/null\n");
    world.policy.backup = format!("ssh-config = {config:?}");
    let mut hour = 0;
    let mut fails = |world: &mut World, words: &[&str]| {
        hour += 1;
        let run = world.run_for_a_person(&format!("2026-01-10T{hour:02}:00:00Z"), &[]).expect_code(1);
        assert_reports(&run, words);
        assert_reports(&run, &["next: "]);
    };
    let mut days = 10;
    let mut works = |world: &mut World| {
        days += 1;
        world.run(&format!("2026-01-{days}T03:00:00Z"));
        assert_same_newest(&files, &world.backup(GUEST));
    };

    // A host that no one has logged in to.
    fs::write(&hosts, "").unwrap();
    all(&own);
    fails(&mut world, &["Host key verification failed", "log in once by hand"]);
    by_hand("ssh", &["-F", &config, "-o", "StrictHostKeyChecking=accept-new", "nfs8", "true"]);
    works(&mut world);

    // One whose key is another one now.
    key_pair(&world, "other-host");
    let line = fs::read_to_string(&hosts).unwrap();
    let names = line.split(' ').next().unwrap();
    fs::write(&hosts, format!("{names} {}", fs::read_to_string(path("other-host.pub")).unwrap())).unwrap();
    fails(&mut world, &["REMOTE HOST IDENTIFICATION HAS CHANGED", "ssh-keygen -R HOST"]);
    fs::remove_file(&hosts).unwrap();
    by_hand("ssh", &["-F", &config, "-o", "StrictHostKeyChecking=accept-new", "nfs8", "true"]);
    works(&mut world);

    // A key that the host does not know.
    key_pair(&world, "key");
    all(&format!("{own}  IdentityFile {key}\n  IdentitiesOnly yes\n"));
    fails(&mut world, &["Permission denied (", "authorized_keys"]);
    let public = fs::read_to_string(path("key.pub")).unwrap();
    OpenOptions::new().append(true).open(AUTHORIZED_KEYS).unwrap().write_all(public.as_bytes()).unwrap();
    works(&mut world);

    // A port on which nothing listens, and an unknown name.
    all("  Port 2\n");
    fails(&mut world, &["Connection refused", "no sshd listens there"]);
    all("  HostName nowhere.invalid\n");
    fails(&mut world, &["Could not resolve hostname", "check `host` in the policy"]);
    all("  NoSuchOption yes\n");
    fails(&mut world, &["Bad configuration option", "ssh-config"]);
    all("");
    works(&mut world);
}
