//! Huge pages, where they pay: not for what a start leaves behind.
//!
//! The allocator asks for huge pages. Under load they save 3 to 9 % of the CPU; but a start touches a little of many of
//! them, and an idle server was twice as large for it (97 MiB with 10,000 accounts, 46 without). So they are off until the
//! server is ready, and on for what grows after that.
//! Failure: a kernel that knows no such switch leaves things as they are.

/// Off, for the whole process, for memory not touched yet.
pub fn keep_small() {
    set_disabled(true);
}

/// On again.
pub fn let_grow() {
    set_disabled(false);
}

fn set_disabled(is_disabled: bool) {
    let (on, none): (libc::c_ulong, libc::c_ulong) = (is_disabled.into(), 0);
    // SAFETY: prctl(2) with PR_SET_THP_DISABLE takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, none, none, none) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_the_kernels() {
        // SAFETY: prctl(2) with PR_GET_THP_DISABLE takes numbers only.
        let is_disabled = || unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
        keep_small();
        assert_eq!(is_disabled(), 1);
        let_grow();
        assert_eq!(is_disabled(), 0);
    }
}
