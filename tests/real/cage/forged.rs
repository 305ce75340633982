//! Streams that `zfs send` does not make.

use zhaul::model::Guid;

/// The checksum of a stream so far.
#[derive(Default)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for word in bytes.chunks_exact(4) {
            let [a, b, c, d] = &mut self.0;
            *a = a.wrapping_add(u64::from(u32::from_ne_bytes(word.try_into().unwrap())));
            *b = b.wrapping_add(*a);
            *c = c.wrapping_add(*b);
            *d = d.wrapping_add(*c);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// The same stream, of a snapshot with another GUID.
pub(super) fn with_guid(mut stream: Vec<u8>, guid: Guid) -> Vec<u8> {
    const RECORD: usize = 312;
    stream[40..48].copy_from_slice(&guid.0.to_ne_bytes());
    let mut sum = Sum::default();
    let mut at = 0;
    while at < stream.len() {
        let number = |from: usize| u32::from_ne_bytes(stream[at + from..at + from + 4].try_into().unwrap());
        let round = |bytes: u32| usize::try_from(bytes.next_multiple_of(8)).unwrap();
        let kind = number(0);
        let payload = match kind {
            0 => round(number(4)),
            1 => round(number(28)),
            3 => round(number(if stream[at + 50] == 0 { 32 } else { 96 })),
            7 => round(number(16)),
            8 => round(number(52)),
            _ => 0,
        };
        if kind == 5 {
            let so_far = sum.bytes();
            stream[at + 8..at + 40].copy_from_slice(&so_far);
            stream[at + 40..at + 48].copy_from_slice(&guid.0.to_ne_bytes());
        }
        sum.add(&stream[at..at + RECORD - 32]);
        if kind != 0 {
            let so_far = sum.bytes();
            stream[at + RECORD - 32..at + RECORD].copy_from_slice(&so_far);
        }
        sum.add(&stream[at + RECORD - 32..at + RECORD + payload]);
        at += RECORD + payload;
    }
    stream
}
