//! A pool of a test's own whose disk can be made to fail, or to not answer at all, and be mended.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One at a time: what waits for such a disk slows the whole lab.
static ONE: Mutex<()> = Mutex::new(());

/// For how long a task may wait without the lab taking it for trouble of its own.
const HUNG_TASKS: &str = "/proc/sys/kernel/hung_task_timeout_secs";

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A pool on a device-mapper disk, destroyed at the end.
#[derive(Debug)]
pub(crate) struct FailingPool {
    pub(crate) name: String,
    sectors: u64,
    file: PathBuf,
    device: String,
    hung_tasks: String,
    _one: MutexGuard<'static, ()>,
}

impl FailingPool {
    /// A pool of `mib` MiB.
    pub(crate) fn new(name: &str, mib: u64) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let hung_tasks = fs::read_to_string(HUNG_TASKS).unwrap();
        fs::write(HUNG_TASKS, "300").unwrap();
        let file = PathBuf::from("/dev/shm").join(format!("{name}.disk"));
        fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
        let device = run("losetup", &["-f", "--show", file.to_str().unwrap()]);
        let pool = Self { name: name.to_owned(), sectors: mib << 11, file, device, hung_tasks, _one: one };
        run("dmsetup", &["create", name, "--table", &pool.table()]);
        let disk = format!("/dev/mapper/{name}");
        let mountpoint = format!("mountpoint=/mnt/{name}");
        run("zpool", &["create", "-f", "-o", "cachefile=none", "-O", &mountpoint, name, &disk]);
        pool
    }

    fn table(&self) -> String {
        format!("0 {} linear {} 0", self.sectors, self.device)
    }

    /// From now on the disk fails: at the next write the pool is suspended.
    pub(crate) fn fail(&self) {
        self.load(&format!("0 {} error", self.sectors));
    }

    /// The shell command that does the same.
    pub(crate) fn failing_command(&self) -> String {
        let Self { name, sectors, .. } = self;
        format!(
            "dmsetup suspend --noflush --nolockfs {name} >&2; dmsetup load {name} --table '0 {sectors} error' >&2; dmsetup resume {name} >&2"
        )
    }

    /// From now on the disk does not answer.
    pub(crate) fn freeze(&self) {
        run("dmsetup", &["suspend", "--noflush", "--nolockfs", &self.name]);
    }

    /// Gives the disk back and resumes the pool.
    pub(crate) fn mend(&self) {
        self.load(&self.table());
        let mut clear = Command::new("zpool").args(["clear", &self.name]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while clear.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{} is not resumed", self.name);
            thread::sleep(Duration::from_millis(50));
        }
        while run("zpool", &["list", "-H", "-o", "health", &self.name]) == "SUSPENDED" {
            assert!(Instant::now() < deadline, "{} stays suspended", self.name);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Nothing of it stays in memory.
    pub(crate) fn forget(&self) {
        run("zpool", &["export", &self.name]);
        run("zpool", &["import", "-o", "cachefile=none", "-d", "/dev/mapper", &self.name]);
        drop(fs::write("/proc/sys/vm/drop_caches", "3"));
    }

    fn load(&self, table: &str) {
        drop(Command::new("dmsetup").args(["suspend", "--noflush", "--nolockfs", &self.name]).output());
        run("dmsetup", &["load", &self.name, "--table", table]);
        run("dmsetup", &["resume", &self.name]);
    }
}

impl Drop for FailingPool {
    fn drop(&mut self) {
        let quietly = |program: &str, args: &[&str]| {
            drop(Command::new(program).args(args).stderr(Stdio::null()).status());
        };
        quietly("dmsetup", &["suspend", "--noflush", "--nolockfs", &self.name]);
        quietly("dmsetup", &["load", &self.name, "--table", &self.table()]);
        quietly("dmsetup", &["resume", &self.name]);
        quietly("zpool", &["clear", &self.name]);
        for _ in 0..20 {
            let destroyed = Command::new("zpool").args(["destroy", "-f", &self.name]).output();
            if destroyed.is_ok_and(|output| output.status.success()) {
                break;
            }
            thread::sleep(Duration::from_millis(500));
        }
        quietly("dmsetup", &["remove", "-f", &self.name]);
        quietly("losetup", &["-d", &self.device]);
        drop(fs::remove_file(&self.file));
        drop(fs::write(HUNG_TASKS, &self.hung_tasks));
    }
}
