//! Random numbers of the system: for keys, and for marks of runs and guests that must be unique.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};

/// `N` random bytes, from getrandom(2).
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}
