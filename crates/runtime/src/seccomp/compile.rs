//! From rules to a BPF program.
//!
//! Calls with the same unconditional answer form ranges of numbers, which a binary search finds: the default profile
//! takes about seven comparisons, and the kernel caches what is always allowed anyway.

use std::collections::BTreeMap;
use std::io;

use super::{Action, Comparison, Condition, Profile, Rule, table};

/// System calls above this number do not exist.
const NUMBERS_MAX: u32 = 1024;
/// Where `struct seccomp_data` keeps the number, the architecture and the arguments.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

type Code = Vec<libc::sock_filter>;

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// The kernel's number of an action (`SECCOMP_RET_…`).
fn answer(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Log => 0x7ffc_0000,
        Action::Trap => 0x0003_0000,
        Action::Trace(value) => 0x7ff0_0000 | u32::from(value),
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
    }
}

/// What happens for one number: rules with conditions in order, then this action.
#[derive(Clone, PartialEq, Eq)]
struct Decision {
    conditional: Vec<(Vec<Condition>, Action)>,
    otherwise: Action,
}

impl Decision {
    fn add(&mut self, rule: &Rule, decided: &mut bool) {
        if *decided {
            return;
        }
        if rule.conditions.is_empty() {
            self.otherwise = rule.action;
            *decided = true;
        } else {
            self.conditional.push((rule.conditions.clone(), rule.action));
        }
    }
}

/// Compiles a profile for this architecture and its 32-bit companion. Names that the kernel's table lacks are ignored, as
/// profiles name calls of many kernels.
pub fn compile(profile: &Profile) -> io::Result<Code> {
    let native = numbers(profile, |call| call.native);
    let compat = numbers(profile, |call| call.compat);
    let mut code = vec![statement(LOAD, ARCHITECTURE_OFFSET)];
    let native_part = section(profile, &native)?;
    code.push(jump(JUMP_EQUAL, table::NATIVE, 0, 1));
    // The far jump over the native part: conditional jumps reach 255 at most.
    code.push(statement(JUMP, 1));
    code.push(statement(JUMP, native_part.len() as u32));
    code.extend(native_part);
    if let Some(architecture) = table::COMPAT {
        code.push(jump(JUMP_EQUAL, architecture, 1, 0));
        code.push(statement(RETURN, answer(Action::KillProcess)));
        code.extend(section(profile, &compat)?);
    } else {
        code.push(statement(RETURN, answer(Action::Errno(libc::ENOSYS as u16))));
    }
    if code.len() > 4096 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "seccomp profile: too many rules"));
    }
    Ok(code)
}

fn numbers(profile: &Profile, number: impl Fn(&table::Syscall) -> Option<u32>) -> BTreeMap<u32, Decision> {
    let by_name: BTreeMap<&str, u32> = table::all().filter_map(|call| Some((call.name, number(&call)?))).collect();
    let mut found: BTreeMap<u32, (Decision, bool)> = BTreeMap::new();
    for rule in &profile.rules {
        let Some(number) = by_name.get(rule.name.as_str()) else { continue };
        let empty = Decision { conditional: Vec::new(), otherwise: profile.default };
        let (decision, decided) = found.entry(*number).or_insert((empty, false));
        decision.add(rule, decided);
    }
    found.into_iter().map(|(number, (decision, _))| (number, decision)).collect()
}

/// The program part for one architecture; each path through it returns.
fn section(profile: &Profile, decisions: &BTreeMap<u32, Decision>) -> io::Result<Code> {
    let default = Decision { conditional: Vec::new(), otherwise: profile.default };
    // Ranges that start at a number and last to the next: (start, decision).
    let mut ranges: Vec<(u32, Decision)> = vec![(0, decisions.get(&0).cloned().unwrap_or_else(|| default.clone()))];
    for number in 1..NUMBERS_MAX {
        let decision = decisions.get(&number).unwrap_or(&default);
        if ranges.last().is_none_or(|(_, last)| last != decision) {
            ranges.push((number, decision.clone()));
        }
    }
    let mut code = vec![statement(LOAD, NUMBER_OFFSET)];
    // x32 calls of x86_64 carry bit 30; such numbers and all others past the end are unknown.
    code.push(jump(JUMP_GREATER_EQUAL, NUMBERS_MAX, 0, 1));
    code.push(statement(RETURN, answer(Action::Errno(libc::ENOSYS as u16))));
    search(&ranges, &mut code)?;
    Ok(code)
}

/// Emits a binary search over `ranges`.
fn search(ranges: &[(u32, Decision)], code: &mut Code) -> io::Result<()> {
    if let [(_, decision)] = ranges {
        return decide(decision, code);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let mut low_code = Vec::new();
    search(low, &mut low_code)?;
    // At or past the middle: over the low half. A short jump reaches 255 instructions, else a long one helps.
    if let Ok(over) = u8::try_from(low_code.len()) {
        code.push(jump(JUMP_GREATER_EQUAL, high[0].0, over, 0));
    } else {
        code.push(jump(JUMP_GREATER_EQUAL, high[0].0, 0, 1));
        code.push(statement(JUMP, low_code.len() as u32));
    }
    code.extend(low_code);
    search(high, code)
}

fn decide(decision: &Decision, code: &mut Code) -> io::Result<()> {
    for (conditions, action) in &decision.conditional {
        let mut tests: Vec<Code> = conditions.iter().map(test).collect();
        // Where a test fails, the rest of the rule is jumped over: each test ends in a jump to be filled in.
        let mut over = 1;
        for test in tests.iter_mut().rev() {
            let last = test.len();
            for (index, instruction) in test.iter_mut().enumerate() {
                if instruction.jf == FAIL {
                    instruction.jf = short(over + last - index - 1)?;
                }
                if instruction.jt == FAIL {
                    instruction.jt = short(over + last - index - 1)?;
                }
            }
            over += last;
        }
        code.extend(tests.concat());
        code.push(statement(RETURN, answer(*action)));
    }
    code.push(statement(RETURN, answer(decision.otherwise)));
    Ok(())
}

fn short(distance: usize) -> io::Result<u8> {
    u8::try_from(distance)
        .ok()
        .filter(|distance| *distance != FAIL)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seccomp profile: too many conditions in one rule"))
}

/// Placeholder of a jump target: the condition does not hold.
const FAIL: u8 = u8::MAX;

/// Compares a 64-bit argument in two halves. Falls through at its end when the condition holds.
fn test(condition: &Condition) -> Code {
    let offset = ARGUMENTS_OFFSET + u32::from(condition.argument) * 8;
    let (low, high) = (offset, offset + 4);
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    let ordered = |code: u16, holds_when_greater: bool| {
        // The high halves decide unless equal; then the low halves do.
        let (greater, less) = if holds_when_greater { (3, FAIL) } else { (FAIL, 3) };
        let (yes, no) = if holds_when_greater { (0, FAIL) } else { (FAIL, 0) };
        vec![
            statement(LOAD, high),
            jump(JUMP_GREATER, value_high, if greater == 3 { 3 } else { FAIL }, 0),
            jump(JUMP_EQUAL, value_high, 0, if less == 3 { 2 } else { FAIL }),
            statement(LOAD, low),
            jump(code, value_low, yes, no),
        ]
    };
    match condition.comparison {
        Comparison::Equal => vec![
            statement(LOAD, high),
            jump(JUMP_EQUAL, value_high, 0, FAIL),
            statement(LOAD, low),
            jump(JUMP_EQUAL, value_low, 0, FAIL),
        ],
        Comparison::NotEqual => vec![
            statement(LOAD, high),
            jump(JUMP_EQUAL, value_high, 0, 2),
            statement(LOAD, low),
            jump(JUMP_EQUAL, value_low, FAIL, 0),
        ],
        Comparison::MaskedEqual(mask) => vec![
            statement(LOAD, high),
            statement(AND, (mask >> 32) as u32),
            jump(JUMP_EQUAL, value_high, 0, FAIL),
            statement(LOAD, low),
            statement(AND, mask as u32),
            jump(JUMP_EQUAL, value_low, 0, FAIL),
        ],
        Comparison::Greater => ordered(JUMP_GREATER, true),
        Comparison::GreaterOrEqual => ordered(JUMP_GREATER_EQUAL, true),
        Comparison::Less => ordered(JUMP_GREATER_EQUAL, false),
        Comparison::LessOrEqual => ordered(JUMP_GREATER, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::profile;

    /// Runs a program as the kernel would.
    fn run(code: &Code, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0_u32; 16];
        data[0] = number;
        data[1] = architecture;
        for (index, argument) in arguments.iter().enumerate() {
            data[4 + index * 2] = *argument as u32;
            data[5 + index * 2] = (*argument >> 32) as u32;
        }
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let i = code[at];
            at += 1;
            let (holds, jumps) = match i.code {
                LOAD => {
                    a = data[i.k as usize / 4];
                    continue;
                }
                AND => {
                    a &= i.k;
                    continue;
                }
                RETURN => return i.k,
                JUMP => {
                    at += i.k as usize;
                    continue;
                }
                JUMP_EQUAL => (a == i.k, i),
                JUMP_GREATER => (a > i.k, i),
                JUMP_GREATER_EQUAL => (a >= i.k, i),
                other => panic!("unknown instruction {other}"),
            };
            at += usize::from(if holds { jumps.jt } else { jumps.jf });
        }
    }

    #[test]
    fn each_call_gets_what_the_default_profile_says() {
        let code = compile(&profile::default(0)).expect("compiles");
        assert!(code.len() < 600, "{} instructions", code.len());
        let eperm = answer(Action::Errno(libc::EPERM as u16));
        for call in table::all() {
            let Some(number) = call.native else { continue };
            let got = run(&code, table::NATIVE, number, [0; 6]);
            let expected = match (call.name, call.class) {
                ("clone3", _) => answer(Action::Errno(libc::ENOSYS as u16)),
                (_, "allow" | "args") => answer(Action::Allow),
                _ => eperm,
            };
            assert_eq!(got, expected, "{}", call.name);
        }
        let enosys = answer(Action::Errno(libc::ENOSYS as u16));
        assert_eq!(run(&code, table::NATIVE, 5000, [0; 6]), enosys);
        assert_eq!(run(&code, 0x1234, 0, [0; 6]), answer(Action::KillProcess));
    }

    #[test]
    fn arguments_are_looked_at() {
        let code = compile(&profile::default(0)).expect("compiles");
        let call = |number: i64, first: u64| run(&code, table::NATIVE, number as u32, [first, 0, 0, 0, 0, 0]);
        let (allow, eperm) = (answer(Action::Allow), answer(Action::Errno(libc::EPERM as u16)));
        assert_eq!(call(libc::SYS_socket, 2), allow);
        assert_eq!(call(libc::SYS_socket, 40), eperm);
        assert_eq!(call(libc::SYS_clone, libc::SIGCHLD as u64), allow);
        assert_eq!(call(libc::SYS_clone, libc::CLONE_NEWUSER as u64), eperm);
        assert_eq!(call(libc::SYS_personality, 0x2_0008), allow);
        assert_eq!(call(libc::SYS_personality, 0x40_0000), eperm);
    }

    #[test]
    fn comparisons_see_all_64_bits() {
        let value = 0x1_0000_0005;
        let cases = [
            (Comparison::Equal, [false, true, false]),
            (Comparison::NotEqual, [true, false, true]),
            (Comparison::Less, [true, false, false]),
            (Comparison::LessOrEqual, [true, true, false]),
            (Comparison::Greater, [false, false, true]),
            (Comparison::GreaterOrEqual, [false, true, true]),
        ];
        for (comparison, expected) in cases {
            let rule = Rule {
                name: "read".to_owned(),
                conditions: vec![Condition { argument: 1, comparison, value }],
                action: Action::Allow,
            };
            let code = compile(&Profile { default: Action::Errno(1), rules: vec![rule] }).expect("compiles");
            for (sets, expected) in [[5, value, value + 1], [4, value, 0x2_0000_0000]].map(|set| (set, expected)) {
                let got = sets.map(|argument| {
                    let arguments = [0, argument, 0, 0, 0, 0];
                    run(&code, table::NATIVE, libc::SYS_read as u32, arguments) == answer(Action::Allow)
                });
                assert_eq!(got, expected, "{comparison:?}");
            }
        }
    }
}
