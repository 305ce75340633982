//! One transfer: a stream, whole, resumed or cut, from the source into the target.

use zhaul::host::{HostError, Incoming, ReceiveInput, ReceiveSpec, SendBase, SendSpec};
use zhaul::model::{
    CopyEncryption, DatasetKind, Encryption, Guid, PointKind, PointName, ResumePoint, ResumeToken, SendFlags,
};
use zhaul::stream::ByteSource as _;
use zhaul::stream::meter::Meters;

use super::deed::{Cut, Side, Transfer};
use super::stage::Stage;
use super::view::Outcome;

impl Stage {
    pub(super) fn send_spec(&self, transfer: Transfer, resume: Option<ResumePoint>) -> SendSpec {
        let snapshot = self.snapshot(Side::Source, transfer.of);
        let base = transfer.base.map(|base| {
            let kind = if base.starts_with('#') { PointKind::Bookmark } else { PointKind::Snapshot };
            let name = PointName::new(&base[1..]).unwrap();
            let listing = self.list(Side::Source, "").unwrap();
            let known = listing.get(snapshot.dataset()).and_then(|known| known.history.named(kind, &name));
            SendBase { kind, origin: None, guid: known.map_or(Guid(0), |known| known.guid), name }
        });
        SendSpec {
            snapshot,
            guid: None,
            base,
            resume,
            encryption: Encryption::Off,
            copy_encryption: CopyEncryption::AsSent,
        }
    }

    pub(super) fn resume(&self, transfer: Transfer) -> Outcome {
        let there = self.list(Side::Target, "").unwrap();
        let dataset = self.snapshot(Side::Target, transfer.into).dataset().clone();
        let Some(token) = there.get(&dataset).and_then(|dataset| dataset.resume_token.clone()) else {
            return Outcome::new("no token");
        };
        let token = ResumeToken::parse(&token).unwrap();
        let flags = SendFlags {
            large_block: token.large_block,
            embed: token.embed,
            compress: token.compress,
            raw: token.raw,
        };
        let received_bytes = token.received_bytes;
        let point = ResumePoint { object: token.object, offset: token.offset, received_bytes, flags };
        self.transfer(transfer, None, Some(point))
    }

    /// Reads all of the stream before any of it is received, so that a cut is always at the same place.
    fn read(&self, spec: &SendSpec) -> Result<Vec<u8>, HostError> {
        let mut outgoing = self.source.send(spec)?;
        let mut bytes = Vec::new();
        {
            let mut stream = outgoing.stream(&self.cancel)?;
            let mut buffer = vec![0; 128 << 10];
            while let Ok(Some(read @ 1..)) = stream.read_within(&mut buffer, None) {
                bytes.extend_from_slice(&buffer[..read]);
            }
        }
        outgoing.finish()?;
        Ok(bytes)
    }

    pub(super) fn transfer(
        &self,
        transfer: Transfer,
        cut: Option<Cut>,
        resume: Option<ResumePoint>,
    ) -> Outcome {
        let is_resumed = resume.is_some();
        let spec = self.send_spec(transfer, resume);
        let mut bytes = match self.read(&spec) {
            Ok(bytes) => bytes,
            Err(error) => {
                let outcome = Outcome::of(Err(error));
                return Outcome { compared: format!("send: {}", outcome.compared), ..outcome };
            }
        };
        let here = self.known(Side::Source);
        let kind = here.get(spec.snapshot.dataset()).map_or(DatasetKind::Filesystem, |dataset| dataset.kind);
        let receive = ReceiveSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: self.snapshot(Side::Target, transfer.into),
            origin: transfer.origin.map(|origin| self.snapshot(Side::Target, origin)),
            heals: false,
            creates_dataset: (transfer.base.is_none() || transfer.origin.is_some()) && !is_resumed,
            kind,
            to: None,
            from: None,
            writer: None,
        };
        let begin = (self.content_at)(&bytes);
        match cut {
            None => {}
            Some(Cut::Begin) => bytes.truncate(begin),
            Some(Cut::Half) => bytes.truncate(begin + (bytes.len() - begin) / 2),
            Some(Cut::End) => bytes.truncate(bytes.len() - 1),
        }
        match self.target.receive(&receive) {
            Ok(incoming) => self.feed(incoming, &bytes, cut.is_some()),
            Err(error) => Outcome::of(Err(error)),
        }
    }

    fn feed(&self, mut incoming: Box<dyn Incoming + '_>, mut bytes: &[u8], is_cut: bool) -> Outcome {
        let mut is_broken = false;
        {
            let meters = Meters::new(incoming.places(), incoming.compressors());
            let ReceiveInput::Plain(mut stream) = incoming.inlet(&self.cancel, &meters).unwrap() else {
                panic!("both take the stream as it is");
            };
            while !bytes.is_empty() && !is_broken {
                match stream.write_some(bytes) {
                    Ok(wrote) => bytes = &bytes[wrote..],
                    Err(_) => is_broken = true,
                }
            }
        }
        if is_broken || is_cut {
            return incoming.abort().map_or_else(|| Outcome::new("cut"), |error| Outcome::of(Err(error)));
        }
        Outcome::of(incoming.finish())
    }
}
