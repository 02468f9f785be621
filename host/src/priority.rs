//! How much of the processor a thread may claim.

/// Lets the calling thread, and those that it begins, run only when no other wants the processor, and at once no more
/// when one does. For good: going back would take a privilege.
pub fn only_when_idle() {
    #[cfg(target_os = "linux")]
    {
        let none = libc::sched_param { sched_priority: 0 };
        #[allow(unsafe_code)]
        // SAFETY: reads the parameter during the call, and changes nothing but how the calling thread is scheduled.
        let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
        if answer != 0 {
            let error = std::io::Error::last_os_error();
            tracing::debug!(%error, "the system does not lower the priority of background threads");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_system_is_told() {
        let policy = || {
            let all = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Counted from what follows the name: the 41st field of all.
            all.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().parse::<i32>().unwrap()
        };
        let lowered = std::thread::spawn(move || {
            let before = policy();
            super::only_when_idle();
            (before, policy())
        });
        assert_eq!(lowered.join().unwrap(), (libc::SCHED_OTHER, libc::SCHED_IDLE));
        assert_eq!(policy(), libc::SCHED_OTHER, "of nobody else");
    }
}
