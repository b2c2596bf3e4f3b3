//! Shows nothing by itself: a thread of which any system call can be made to fail.
//!
//! A filter (seccomp) hands each call of the thread, and of the threads that it starts, to another thread of this process,
//! which lets the kernel do it, or answers with an error in the kernel's place.
#![allow(unsafe_code, reason = "seccomp has no safe form")]

use std::mem::{size_of, zeroed};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use nix::errno::Errno;

/// Decides which calls fail.
pub struct Faults {
    /// Where calls are asked about. 0: there is no filter yet; below: there can be none.
    listener: AtomicI32,
    /// How many calls there are until the one that fails; it included. 0 and less: none fails.
    left: AtomicI64,
    error: AtomicI32,
    /// Which call failed. -1: none.
    failed: AtomicI64,
}

/// Calls that are not asked about: those of which the standard library expects that they work, those that change nothing
/// when they fail in the kernel's stead but would when they fail here (`close`), and the output of tests.
const ALWAYS: [i64; 19] = [
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_write,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_prctl,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

/// Runs `f` in a thread whose calls can fail. `false`: the kernel does not offer that to this process.
pub fn with_faults(f: impl FnOnce(&Faults) + Send) -> bool {
    let faults = Faults {
        listener: AtomicI32::new(0),
        left: AtomicI64::new(0),
        error: AtomicI32::new(0),
        failed: AtomicI64::new(-1),
    };
    std::thread::scope(|scope| {
        let theirs = &faults;
        let thread = scope.spawn(move || {
            if theirs.install() {
                f(theirs);
            }
        });
        let offered = faults.answer();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        offered
    })
}

impl Faults {
    /// Runs `f`, of which the `n`-th call that can fail does so (1: the first). Returns what `f` does, and which call failed.
    pub fn failing<T>(&self, n: u64, error: Errno, f: impl FnOnce() -> T) -> (T, Option<i64>) {
        self.error.store(error as i32, SeqCst);
        self.failed.store(-1, SeqCst);
        self.left.store(n as i64, SeqCst);
        let done = f();
        self.left.store(0, SeqCst);
        let failed = self.failed.load(SeqCst);
        (done, (failed != -1).then_some(failed))
    }

    /// From here on the calls of this thread are asked about.
    fn install(&self) -> bool {
        let step = |code: u32, jt, k: u32| libc::sock_filter { code: code as u16, jt, jf: 0, k };
        let give = |what| step(libc::BPF_RET | libc::BPF_K, 0, what);
        // The number of the call is the first field.
        let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
        for (i, call) in ALWAYS.iter().enumerate() {
            let to_the_end = (ALWAYS.len() - i) as u8;
            program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_the_end, *call as u32));
        }
        program.push(give(libc::SECCOMP_RET_USER_NOTIF));
        program.push(give(libc::SECCOMP_RET_ALLOW));
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        // SAFETY: no memory is involved.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the kernel copies the program, which lives until the call returns.
        let listener = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
        // Without a system call, for which somebody has to answer already.
        self.listener.store(if listener > 0 { listener as i32 } else { -1 }, SeqCst);
        listener > 0
    }

    /// Answers until the thread, and those that it started, are gone.
    fn answer(&self) -> bool {
        /// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`: both ways, the size, `!`, the number.
        const fn request(size: usize, number: u64) -> u64 {
            3 << 30 | (size as u64) << 16 | 0x21 << 8 | number
        }
        let listener = loop {
            match self.listener.load(SeqCst) {
                0 => std::thread::sleep(Duration::from_micros(100)),
                ..0 => return false,
                listener => break listener,
            }
        };
        // Each call is two wake-ups: quick ones, on the processor that the other runs on, if the kernel (6.6) has them.
        let at_once: u64 = 1; // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
        let set_flags = 1_u64 << 30 | (size_of::<u64>() as u64) << 16 | 0x21 << 8 | 4; // SECCOMP_IOCTL_NOTIF_SET_FLAGS
        // SAFETY: a number.
        unsafe { libc::ioctl(listener, set_flags, at_once) };
        loop {
            let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure, which is ours.
            unsafe { libc::poll(&raw mut ready, 1, -1) };
            if ready.revents & libc::POLLHUP != 0 {
                // SAFETY: nobody else has the number.
                unsafe { libc::close(listener) };
                return true;
            }
            // SAFETY: numbers only, of which the kernel wants zeros.
            let mut asked: libc::seccomp_notif = unsafe { zeroed() };
            let receive = request(size_of::<libc::seccomp_notif>(), 0);
            // SAFETY: the kernel writes one structure of the size that the request names.
            if unsafe { libc::ioctl(listener, receive, &raw mut asked) } != 0 {
                continue;
            }
            let fails = can_fail(&asked.data) && self.left.load(SeqCst) > 0 && self.left.fetch_sub(1, SeqCst) == 1;
            let mut answer = libc::seccomp_notif_resp {
                id: asked.id,
                val: 0,
                error: 0,
                flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            };
            if fails {
                self.failed.store(i64::from(asked.data.nr), SeqCst);
                (answer.error, answer.flags) = (-self.error.load(SeqCst), 0);
            }
            let send = request(size_of::<libc::seccomp_notif_resp>(), 1);
            // SAFETY: the kernel reads one structure of the size that the request names.
            unsafe { libc::ioctl(listener, send, &raw mut answer) };
        }
    }
}

/// Whether a call is one that the library makes, or may be the allocator's, whose failure ends a program.
fn can_fail(call: &libc::seccomp_data) -> bool {
    let [_, len, prot, _, fd, _] = call.args;
    match i64::from(call.nr) {
        libc::SYS_mmap => fd as i32 != -1 || len == 4096,
        libc::SYS_mprotect => prot == 0,
        libc::SYS_mremap => false,
        _ => true,
    }
}
