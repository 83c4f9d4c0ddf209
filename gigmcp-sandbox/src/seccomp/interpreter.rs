//! The classic BPF of seccomp, interpreted: what the kernel would answer to a call.

/// What the kernel would do, strictest first, as it chooses among several programs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Action {
    Kill,
    Errno(i32),
    Notify,
    Allow,
}

/// `struct seccomp_data`: what a program is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) arguments: [u64; 6],
}

impl Call {
    /// The 32-bit word at an offset.
    fn word(&self, offset: u32) -> u32 {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.number.to_ne_bytes());
        bytes.extend_from_slice(&self.arch.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]); // the instruction pointer
        for argument in self.arguments {
            bytes.extend_from_slice(&argument.to_ne_bytes());
        }
        let at = offset as usize;
        u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }
}

/// What programs together answer, installed in this order.
pub(crate) fn answer(programs: &[Vec<u8>], call: &Call) -> Action {
    // The newest is asked first, and an older one must be stricter to win.
    let answers = programs.iter().rev().map(|program| run(program, call));
    let rank = |action: &Action| match action {
        Action::Kill => 0,
        Action::Errno(_) => 1,
        Action::Notify => 2,
        Action::Allow => 3,
    };
    answers.min_by_key(rank).expect("there is a program")
}

/// What one program answers.
pub(crate) fn run(program: &[u8], call: &Call) -> Action {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let instruction = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([instruction[0], instruction[1]]);
        let (if_true, if_false) = (usize::from(instruction[2]), usize::from(instruction[3]));
        let constant = u32::from_ne_bytes(instruction[4..8].try_into().expect("four bytes"));
        at += 1;
        let mut jump = |holds: bool| at += if holds { if_true } else { if_false };
        match code {
            0x20 => accumulator = call.word(constant), // ld [k]
            0x54 => accumulator &= constant,           // and #k
            0x05 => at += constant as usize,           // ja
            0x15 => jump(accumulator == constant),     // jeq
            0x25 => jump(accumulator > constant),      // jgt
            0x35 => jump(accumulator >= constant),     // jge
            0x45 => jump(accumulator & constant != 0), // jset
            0x06 => return action(constant),           // ret #k
            other => panic!("libseccomp made an instruction {other:#x}"),
        }
    }
}

fn action(returned: u32) -> Action {
    match returned & 0xffff_0000 {
        0x8000_0000 => Action::Kill,
        0x0005_0000 => Action::Errno((returned & 0xffff) as i32),
        0x7fc0_0000 => Action::Notify,
        0x7fff_0000 => Action::Allow,
        other => panic!("nothing in the policy becomes {other:#x}"),
    }
}
