//! Ports for servers that start, end and start again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below these are well-known ones; above them are those that systems give to connections by themselves. One of those may be
/// taken by anybody's connection while its server does not run.
const RANGE: std::ops::Range<u32> = 15_000..32_000;

/// The first of so many ports in a row that nobody listens at, and that nobody in this process was given before.
///
/// # Panics
///
/// When there are none.
pub fn free(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (width, step) = (RANGE.len() as u32 - u32::from(count), u32::from(count));
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    (0..width)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(step, Ordering::Relaxed)) % width + RANGE.start)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| (*port..port + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("free ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_servers_get_the_same_port() {
        let first = free(3);
        let listeners: Vec<_> =
            (first..first + 3).map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        let next = free(1);
        assert!(next < first || next >= first + listeners.len() as u16, "{first} {next}");
    }
}
