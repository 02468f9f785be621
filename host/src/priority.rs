//! How much of the processor a thread may claim.

/// What `nice` would give a program that should not be in the way of others: about a tenth of what they get when there is not
/// enough for all, so that it always gets something.
const BEHIND: i32 = 10;

/// Puts the calling thread, and those that it begins, behind others. For good: going back would take a privilege.
pub fn behind_others() {
    // On Linux this is about the calling thread alone; elsewhere it would be about the process.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, BEHIND)
    {
        tracing::debug!(%error, "the system does not lower the priority of background threads");
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::process::getpriority_process;

    #[test]
    fn the_system_is_told() {
        let before = getpriority_process(None).unwrap();
        let lowered = std::thread::spawn(|| {
            super::behind_others();
            getpriority_process(None).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), super::BEHIND.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before, "of nobody else");
    }
}
