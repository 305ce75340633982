//! Somebody who holds the key, and speaks the agent's protocol in bytes.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::attacker::Attacker;

/// A session in the agent's own words.
pub(super) struct Raw {
    pub(super) child: Child,
    pub(super) protocol: u64,
}

impl Raw {
    /// Greets; says no hello.
    pub(super) fn open(attacker: &Attacker, command: &str) -> Self {
        let mut child = ssh(attacker, &[command]);
        child.stdin.as_mut().unwrap().write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" {
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        let line = String::from_utf8(line).unwrap();
        let protocol = line.split(' ').nth(1).unwrap().parse().unwrap();
        Self { child, protocol }
    }

    /// Greets and is welcome.
    pub(super) fn welcome(attacker: &Attacker) -> Self {
        let mut raw = Self::open(attacker, "exec sh -c 'id' zhaul agent");
        let said = raw.hello();
        assert_eq!(said.last().unwrap()["tell"], "done", "{said:?}");
        raw
    }

    pub(super) fn hello(&mut self) -> Vec<Value> {
        self.ask(&json!({"ask": "hello", "protocol": self.protocol, "version": "9"}))
    }

    pub(super) fn say(&mut self, request: &Value) {
        // It may have hung up.
        self.child.stdin.as_mut().unwrap().write_all(&message(&request.to_string())).ok();
    }

    /// The next reply; `None` where the agent has hung up.
    pub(super) fn reply(&mut self) -> Option<(Value, Vec<u8>)> {
        let output = self.child.stdout.as_mut().unwrap();
        let mut header = [0; 8];
        output.read_exact(&mut header).ok()?;
        let [.., a, b, c, d] = header;
        let mut text = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap()];
        output.read_exact(&mut text).ok()?;
        Some((serde_json::from_slice(&text).unwrap(), text))
    }

    /// All replies up to the one that ends the answer; none where the agent has hung up. No byte of them is a control
    /// character.
    pub(super) fn ask(&mut self, request: &Value) -> Vec<Value> {
        self.say(request);
        let mut all = Vec::new();
        while let Some((reply, text)) = self.reply() {
            assert!(!text.iter().any(u8::is_ascii_control), "{}", text.escape_ascii());
            let ends = ["done", "failed", "ready", "connections"].iter().any(|end| reply["tell"] == *end);
            all.push(reply);
            if ends {
                break;
            }
        }
        all
    }

    /// Hangs up; what the agent wrote to its standard error, and how long it took to end.
    pub(super) fn leave(mut self) -> (String, Duration) {
        let begun = Instant::now();
        drop(self.child.stdin.take());
        let mut rest = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut rest).ok();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).ok();
        self.child.wait().unwrap();
        (said, begun.elapsed())
    }
}

/// The agent behind the key, spoken to in bytes.
pub(super) fn ssh(attacker: &Attacker, command: &[&str]) -> Child {
    let config = attacker.world.directory().join("ssh_config");
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(config).args(["-o", "BatchMode=yes", "nfs8"]).args(command);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code, the answer to these bytes, and the time until the agent ends.
pub(super) fn speak(attacker: &Attacker, command: &[&str], bytes: &[u8]) -> (Option<i32>, String, Duration) {
    let begun = Instant::now();
    let mut child = ssh(attacker, command);
    // It may be gone already.
    child.stdin.take().unwrap().write_all(bytes).ok();
    let mut answer = String::new();
    let mut raw = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut raw).unwrap();
    answer.push_str(&String::from_utf8_lossy(&raw));
    child.stderr.take().unwrap().read_to_string(&mut answer).ok();
    (child.wait().unwrap().code(), answer, begun.elapsed())
}

/// The agent's answer to these bytes, sent after its greeting: requests that come with the key itself are not read.
pub(super) fn answer_to(attacker: &Attacker, bytes: &[u8]) -> (String, Duration) {
    let mut child = ssh(attacker, &["exec sh -c 'id' zhaul agent"]);
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    input.write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        output.read_exact(&mut byte).unwrap();
    }
    let begun = Instant::now();
    // It may have hung up before the last byte.
    input.write_all(bytes).ok();
    // Whoever hangs up waits for no answer.
    let mut answer = Vec::new();
    let mut header = [0; 8];
    if output.read_exact(&mut header).is_ok() {
        let [.., a, b, c, d] = header;
        answer.resize(usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap(), 0);
        output.read_exact(&mut answer).unwrap();
    }
    drop(input);
    output.read_to_end(&mut answer).unwrap();
    child.wait().unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

pub(super) fn message(json: &str) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap();
    [&b"zhm\x01"[..], &length.to_le_bytes(), json.as_bytes()].concat()
}

pub(super) fn is_failed(said: &[Value]) -> bool {
    said.is_empty() || said.len() == 1 && said[0]["tell"] == "failed"
}
