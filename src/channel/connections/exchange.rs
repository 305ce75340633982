//! The messages that the two ends exchange over ssh before the first connection is opened.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::error::ConnectionError;
use super::tcp::Half;
use super::tls::Identity;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// TLS 1.3.
    Tls,
    /// Not encrypted, but authenticated.
    Tcp,
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        })
    }
}

/// The identity of one end, as it is sent over ssh. Bytes are hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Token {
    /// Its certificate, in DER.
    Tls(#[serde(with = "hex")] Vec<u8>),
    /// Its half of the key.
    Tcp(#[serde(with = "hex")] Vec<u8>),
}

impl Token {
    fn kind(&self) -> ConnectionKind {
        match self {
            Self::Tls(_) => ConnectionKind::Tls,
            Self::Tcp(_) => ConnectionKind::Tcp,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Half of a key does not belong into a log.
        write!(f, "{}", self.kind())
    }
}

/// The calling end's first message over ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    pub(super) caller: Token,
}

impl Greeting {
    /// The requested kind of connections.
    pub fn kind(&self) -> ConnectionKind {
        self.caller.kind()
    }
}

/// The listening end's answer over ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Where it listens.
    pub address: IpAddr,
    /// On which port.
    pub port: u16,
    pub(super) listener: Token,
}

/// The calling end, before it knows where to call.
#[derive(Debug)]
pub struct Caller {
    pub(super) secret: Secret,
}

/// The secret of one end until the connections are open.
#[derive(Debug)]
pub(super) enum Secret {
    Tls(Identity),
    Tcp(Half),
}

impl Secret {
    pub(super) fn new(kind: ConnectionKind) -> Result<Self, ConnectionError> {
        Ok(match kind {
            ConnectionKind::Tls => Self::Tls(Identity::new()?),
            ConnectionKind::Tcp => Self::Tcp(Half::new()?),
        })
    }

    pub(super) fn token(&self) -> Token {
        match self {
            Self::Tls(identity) => Token::Tls(identity.certificate().to_vec()),
            Self::Tcp(half) => Token::Tcp(half.bytes().to_vec()),
        }
    }
}

impl Caller {
    /// Makes what this end will be known by, for one use.
    pub fn new(kind: ConnectionKind) -> Result<Self, ConnectionError> {
        Ok(Self { secret: Secret::new(kind)? })
    }

    /// The message to the listening end; send it over ssh and nothing else.
    pub fn greeting(&self) -> Greeting {
        Greeting { caller: self.secret.token() }
    }
}

/// Bytes as hexadecimal digits.
mod hex {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let pairs = digits.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        bytes.ok_or_else(|| D::Error::custom("not hexadecimal"))
    }

    fn digit(value: u8) -> char {
        char::from_digit(u32::from(value), 16).unwrap_or_default()
    }

    fn byte(pair: &[u8]) -> Option<u8> {
        let &[high, low] = pair else { return None };
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        Some(value(high)? << 4 | value(low)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_ssh_comes_back_and_shows_no_key() {
        for kind in [ConnectionKind::Tls, ConnectionKind::Tcp] {
            let greeting = Caller::new(kind).unwrap().greeting();
            let text = serde_json::to_string(&greeting).unwrap();
            assert!(text.starts_with(&format!("{{\"caller\":{{\"{kind}\":\"")), "{text}");
            assert_eq!(serde_json::from_str::<Greeting>(&text).unwrap(), greeting);
            assert_eq!(format!("{greeting:?}"), format!("Greeting {{ caller: {kind} }}"));
        }
        for digits in ["0", "0g", "xx", "+1", "é"] {
            let text = format!("{{\"caller\":{{\"tcp\":\"{digits}\"}}}}");
            assert!(serde_json::from_str::<Greeting>(&text).is_err(), "{digits}");
        }
    }
}
