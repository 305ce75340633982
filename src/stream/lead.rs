//! A source whose first bytes were read already.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::endpoint::ByteSource;

/// Gives these bytes first, then the source's own.
#[derive(Debug)]
pub struct WithLead<S> {
    lead: Vec<u8>,
    given: usize,
    source: S,
}

impl<S> WithLead<S> {
    /// `lead` may be empty.
    pub fn new(lead: Vec<u8>, source: S) -> Self {
        Self { lead, given: 0, source }
    }
}

impl<S: ByteSource> ByteSource for WithLead<S> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        let rest = self.lead.get(self.given..).unwrap_or_default();
        if rest.is_empty() || buffer.is_empty() {
            return self.source.read_within(buffer, limit);
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(Some(count))
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        self.source.confirm_end()
    }

    fn take_lead(&mut self) -> Vec<u8> {
        let mut lead = std::mem::take(&mut self.lead);
        lead.drain(..std::mem::take(&mut self.given));
        lead
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.bare_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::thread;

    use super::*;
    use crate::stream::meter::{Meters, Places};
    use crate::stream::pump::{Pump, PumpSettings};
    use crate::stream::{ByteSink as _, Cancel, FdSource, FdTarget, Plain, endpoint};

    #[test]
    fn what_was_read_already_comes_first_and_once() {
        let mut source = WithLead::new(b"abcde".to_vec(), Plain(&b"fg"[..]));
        let mut some = [0; 3];
        assert_eq!(source.read_within(&mut some, None).unwrap(), Some(3));
        assert_eq!((&some, source.take_lead()), (b"abc", b"de".to_vec()));
        assert_eq!(source.read_within(&mut some, None).unwrap(), Some(2));
        assert_eq!(&some[..2], b"fg");
        assert_eq!(source.read_within(&mut some, None).unwrap(), Some(0));
    }

    #[test]
    fn a_pump_that_moves_pages_writes_it_first() {
        let cancel = Cancel::new().unwrap();
        let (from, to_source) = endpoint::pipe(64 << 10).unwrap();
        let (mut from_target, to) =
            endpoint::pipe(64 << 10).map(|(read, write)| (std::fs::File::from(read), write)).unwrap();
        rustix::io::write(&to_source, b"the rest").unwrap();
        drop(to_source);
        // More than the pipe takes at once.
        let lead: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        let expected = [&lead[..], b"the rest"].concat();
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            from_target.read_to_end(&mut all).unwrap();
            all
        });
        let settings = PumpSettings { buffer_bytes: 1 << 20, rate: None, stall_limit: None };
        let pump =
            Pump { settings, meters: Meters::new(Places::LOCAL, 0), cancel: cancel.clone(), samples: None };
        let source = WithLead::new(lead, FdSource::new(from, &cancel).unwrap());
        let target = FdTarget::new(to, &cancel).unwrap();
        assert!(source.bare_fd().is_some() && target.bare_fd().is_some());
        let report = pump.run(source, target).unwrap();
        drop(pump);
        assert_eq!(reading.join().unwrap(), expected);
        let bytes = u64::try_from(expected.len()).unwrap();
        assert_eq!((report.input_bytes, report.output_bytes), (bytes, bytes));
    }
}
