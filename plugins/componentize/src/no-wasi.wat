;; What takes the place of WASI preview 1 in a component made of a Go program.
;;
;; Go's runtime asks its system for a clock, random numbers and somewhere to print; a plugin has none of these but what
;; the host's own interfaces lend it. So the answers are made here, inside the component, and it imports no WASI:
;;
;; * the clock begins at zero and goes on by a microsecond with every look at it; who waits is woken at once, and the
;;   clock has moved to the time waited for;
;; * random numbers are a fixed sequence: the same batches give the same results after a restart;
;; * what is printed is thrown away; there are no arguments, no environment, no files and no sockets;
;; * the end of the program is a trap.
;;
;; Nothing here calls out of the component, so that Go may collect garbage while the host hands it a list.
(module
  (import "env" "memory" (memory 0))

  ;; Nanoseconds.
  (global $now (mut i64) (i64.const 0))
  (global $random (mut i64) (i64.const 0x9E3779B97F4A7C15))

  (func (export "proc_exit") (param i32) unreachable)
  (func (export "proc_raise") (param i32) (result i32) unreachable)
  (func (export "sched_yield") (result i32) i32.const 0)

  ;; Counts of nothing, and nothing.
  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    i32.const 0)
  (func $nothing (param i32 i32) (result i32) i32.const 0)
  (export "args_sizes_get" (func $none))
  (export "args_get" (func $nothing))
  (export "environ_sizes_get" (func $none))
  (export "environ_get" (func $nothing))

  (func (export "clock_res_get") (param $clock i32) (param $result i32) (result i32)
    (i64.store (local.get $result) (i64.const 1000))
    i32.const 0)
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $result i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $result) (global.get $now))
    i32.const 0)

  ;; A subscription is 48 bytes: its name at 0, its kind at 8 (0: a clock), the time at 24, flags at 40 (1: the time is a
  ;; moment, else it is a span). An event is 32 bytes: the name at 0, an error at 8, the kind at 10. Only clocks are told.
  (func (export "poll_oneoff")
    (param $in i32) (param $out i32) (param $count i32) (param $fired i32) (result i32)
    (local $until i64) (local $events i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (if (i32.eqz (i32.load8_u offset=8 (local.get $in)))
          (then
            (local.set $until (i64.load offset=24 (local.get $in)))
            (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1)))
              (then (local.set $until (i64.add (local.get $until) (global.get $now)))))
            (if (i64.gt_u (local.get $until) (global.get $now))
              (then (global.set $now (local.get $until))))
            (i64.store (local.get $out) (i64.load (local.get $in)))
            (i64.store offset=8 (local.get $out) (i64.const 0))
            (i64.store offset=16 (local.get $out) (i64.const 0))
            (i64.store offset=24 (local.get $out) (i64.const 0))
            (local.set $out (i32.add (local.get $out) (i32.const 32)))
            (local.set $events (i32.add (local.get $events) (i32.const 1)))))
        (local.set $in (i32.add (local.get $in) (i32.const 48)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $fired) (local.get $events))
    i32.const 0)

  ;; Xorshift64: every byte is the top one of the next state.
  (func (export "random_get") (param $at i32) (param $count i32) (result i32)
    (local $x i64)
    (local.set $x (global.get $random))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
        (i64.store8 (local.get $at) (i64.shr_u (local.get $x) (i64.const 56)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (global.set $random (local.get $x))
    i32.const 0)

  ;; Says that all of it was written. A slice is 8 bytes: where, and how many.
  (func (export "fd_write")
    (param $fd i32) (param $slices i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $slices))))
        (local.set $slices (i32.add (local.get $slices) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    i32.const 0)

  ;; 8: there is no such file.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) i32.const 8)
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) i32.const 8)
  (func (export "fd_close") (param i32) (result i32) i32.const 8)
  (func (export "fd_datasync") (param i32) (result i32) i32.const 8)
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) i32.const 8)
  (func (export "fd_filestat_get") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) i32.const 8)
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) i32.const 8)
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) i32.const 8)
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "fd_prestat_get") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) i32.const 8)
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) i32.const 8)
  (func (export "fd_renumber") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) i32.const 8)
  (func (export "fd_sync") (param i32) (result i32) i32.const 8)
  (func (export "fd_tell") (param i32 i32) (result i32) i32.const 8)
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) i32.const 8)
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) i32.const 8)
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "sock_accept") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "sock_shutdown") (param i32 i32) (result i32) i32.const 8)
)
