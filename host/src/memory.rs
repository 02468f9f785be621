//! The process's memory: how much there is, and that it goes back.

/// Blocks of this size come from the system one by one, and go back to it when they are freed. Batches are smaller, and
/// are used again; rows of many megabytes are not, and would stay with the process for good.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 8 << 20;

/// So many cores share one of the allocator's arenas. It would make eight for each core, and what one thread frees of what
/// another one made goes back to that one's: batches go through threads, and each arena would keep its own peak.
#[cfg(target_env = "gnu")]
const CORES_PER_ARENA: usize = 2;

/// Tells the allocator to keep no large blocks, and few arenas. It would otherwise raise its own bound with each large
/// block that it sees.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        let mut wanted = vec![(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, 2 * LARGE)];
        wanted.extend(arenas().map(|arenas| (libc::M_ARENA_MAX, arenas)));
        for (which, value) in wanted {
            #[allow(unsafe_code)]
            // SAFETY: takes no pointer; called at the start, before other threads exist.
            unsafe {
                libc::mallopt(which, value);
            }
        }
    }
}

/// How many arenas there are to be; `None`: somebody has said so.
#[cfg(target_env = "gnu")]
fn arenas() -> Option<libc::c_int> {
    let is_set = std::env::var_os("MALLOC_ARENA_MAX").is_some()
        || std::env::var("GLIBC_TUNABLES").is_ok_and(|all| all.contains("malloc.arena_max"));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(cores.div_ceil(CORES_PER_ARENA)).unwrap_or(libc::c_int::MAX);
    (!is_set).then_some(arenas)
}

/// Half of what the container's control group allows, or of the machine's memory.
pub fn half() -> usize {
    const FALLBACK: usize = 1 << 30;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    let group = group.ok().and_then(|text| text.trim().parse::<usize>().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
    });
    group.into_iter().chain(machine).min().map_or(FALLBACK, |bytes| bytes / 2)
}
