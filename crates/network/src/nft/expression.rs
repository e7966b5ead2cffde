//! Rules: expressions that load packet fields into registers, look them up, compare, translate.

use crate::cidr::Cidr;
use crate::netlink::message::Attributes;
use crate::nft::{FAMILY_IPV4, Words};

/// `NFTA_LIST_ELEM`, `NFTA_EXPR_…`.
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `NFTA_DATA_…`, `NFTA_VERDICT_…`.
pub(crate) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// The register that decides a packet's fate.
const REGISTER_VERDICT: u32 = 0;
/// `NFT_REG32_00`: the first of sixteen registers of four bytes.
const REGISTER_FIRST: u32 = 8;

/// Offsets in the IPv4 header.
const IPV4_SOURCE: u32 = 12;
const IPV4_DESTINATION: u32 = 16;
/// The destination port's offset: the same for TCP, UDP and SCTP.
const DESTINATION_PORT: u32 = 2;
/// `NFT_PAYLOAD_…_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_META_…`.
const META_MARK: u32 = 3;
const META_INPUT: u32 = 4;
const META_OUTPUT: u32 = 5;
const META_PROTOCOL: u32 = 16;
/// The loopback link is the first of each network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `NFT_CT_…` and the bits of connection states and statuses.
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const CT_STATUS_DESTINATION_TRANSLATED: u32 = 0x20;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_…`, `RTN_LOCAL`.
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const ROUTE_LOCAL: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const RANDOM_PORTS: u32 = 16;
/// The code of "port unreachable" in ICMP.
const PORT_UNREACHABLE: u8 = 3;
/// Fixed, so that a client keeps its endpoint when the table is made anew.
const HASH_SEED: u32 = 0x736b_6966;

/// One of sixteen registers of four bytes. Fields loaded into registers side by side make a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    fn number(self) -> u32 {
        REGISTER_FIRST + u32::from(self.0)
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is thrown away.
    Drop,
    /// It passes this base chain.
    Accept,
    /// Through a chain, and back.
    Jump(String),
    /// Through a chain, and not back.
    Goto(String),
}

impl Verdict {
    /// Writes the verdict as an `NFTA_DATA` of type `kind`.
    pub(crate) fn write(&self, a: &mut Attributes<'_>, kind: u16) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3i32, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        a.nest(kind, |a| {
            a.nest(DATA_VERDICT, |a| {
                a.be32(VERDICT_CODE, code as u32);
                chain.iter().for_each(|chain| a.text(VERDICT_CHAIN, chain));
            });
        });
    }
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the kernel's own attributes")]
pub enum Expression {
    /// Loads bytes of the packet.
    Payload { base: u32, offset: u32, length: u32, to: Register },
    /// Loads a fact about the packet.
    Meta { key: u32, to: Register },
    /// Sets the packet's mark.
    SetMark { from: Register },
    /// Loads a fact about the connection.
    Connection { key: u32, to: Register },
    /// Loads the kind of route that an address has.
    Fib { address: u32, to: Register },
    /// Loads a constant.
    Constant { data: Words, to: Register },
    /// Goes on only if the register holds this, or only if not.
    Compare { register: Register, equal: bool, data: Vec<u8> },
    /// register = register & mask ^ xor.
    Bitwise { register: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Goes on only if the set has the key; a map's value is loaded to `to`.
    Lookup { set: String, from: Register, to: Option<Register> },
    /// Takes the verdict that the map has for the key.
    VerdictMap { set: String, from: Register },
    /// Loads a random number in `offset..offset + modulus`.
    Random { modulus: u32, offset: u32, to: Register },
    /// Loads a hash of a register's four bytes, in `offset..offset + modulus`.
    Hash { from: Register, modulus: u32, offset: u32, to: Register },
    /// Translates the destination.
    DestinationNat { address: Register, port: Register },
    /// Translates the source to this machine's address.
    Masquerade,
    /// Answers with a TCP reset.
    RejectReset,
    /// Answers with ICMP port unreachable.
    RejectUnreachable,
    /// Decides.
    Decide(Verdict),
}

impl Expression {
    /// The kernel's name for it; also part of the name of the module that provides it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMark { .. } => "meta",
            Self::Connection { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Constant { .. } | Self::Decide(_) => "immediate",
            Self::Compare { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::Lookup { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Random { .. } => "numgen",
            Self::Hash { .. } => "hash",
            Self::DestinationNat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::RejectReset | Self::RejectUnreachable => "reject",
        }
    }

    fn write(&self, a: &mut Attributes<'_>) {
        a.nest(LIST_ELEMENT, |a| {
            a.text(EXPRESSION_NAME, self.name());
            a.nest(EXPRESSION_DATA, |a| self.write_data(a));
        });
    }

    fn write_data(&self, a: &mut Attributes<'_>) {
        match self {
            Self::Payload { base, offset, length, to } => {
                numbers(a, &[(1, to.number()), (2, *base), (3, *offset), (4, *length)]);
            }
            Self::Meta { key, to } => numbers(a, &[(1, to.number()), (2, *key)]),
            Self::SetMark { from } => numbers(a, &[(2, META_MARK), (3, from.number())]),
            Self::Connection { key, to } => numbers(a, &[(1, to.number()), (2, *key)]),
            Self::Fib { address, to } => numbers(a, &[(1, to.number()), (2, FIB_ADDRESS_TYPE), (3, *address)]),
            Self::Constant { data, to } => {
                a.be32(1, to.number());
                a.nest(2, |a| a.bytes(DATA_VALUE, data.as_bytes()));
            }
            Self::Compare { register, equal, data } => {
                numbers(a, &[(1, register.number()), (2, u32::from(!*equal))]);
                a.nest(3, |a| a.bytes(DATA_VALUE, data));
            }
            Self::Bitwise { register, mask, xor } => {
                numbers(a, &[(1, register.number()), (2, register.number()), (3, mask.len() as u32)]);
                a.nest(4, |a| a.bytes(DATA_VALUE, mask));
                a.nest(5, |a| a.bytes(DATA_VALUE, xor));
            }
            Self::Lookup { set, from, to } => {
                a.text(1, set);
                a.be32(2, from.number());
                to.iter().for_each(|to| a.be32(3, to.number()));
            }
            Self::VerdictMap { set, from } => {
                a.text(1, set);
                numbers(a, &[(2, from.number()), (3, REGISTER_VERDICT)]);
            }
            Self::Random { modulus, offset, to } => {
                numbers(a, &[(1, to.number()), (2, *modulus), (3, 1), (4, *offset)]);
            }
            Self::Hash { from, modulus, offset, to } => {
                let (from, to) = (from.number(), to.number());
                numbers(a, &[(1, from), (2, to), (3, 4), (4, *modulus), (5, HASH_SEED), (6, *offset), (7, 0)]);
            }
            Self::DestinationNat { address, port } => {
                numbers(a, &[(1, 1), (2, u32::from(FAMILY_IPV4)), (3, address.number()), (5, port.number())]);
            }
            Self::Masquerade => a.be32(1, RANDOM_PORTS),
            Self::RejectReset => a.be32(1, 1),
            Self::RejectUnreachable => {
                a.be32(1, 0);
                a.u8(2, PORT_UNREACHABLE);
            }
            Self::Decide(verdict) => {
                a.be32(1, REGISTER_VERDICT);
                verdict.write(a, 2);
            }
        }
    }
}

fn numbers(a: &mut Attributes<'_>, pairs: &[(u16, u32)]) {
    pairs.iter().for_each(|(kind, value)| a.be32(*kind, *value));
}

/// A rule: its steps, in order. The methods read like the words of `nft`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    steps: Vec<Expression>,
}

/// Scratch register of the matching methods; keys are loaded below it.
const SCRATCH: Register = Register(12);

impl Rule {
    /// A rule without steps matches all and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The steps.
    pub fn steps(&self) -> &[Expression] {
        &self.steps
    }

    /// Adds a step.
    pub fn then(mut self, step: Expression) -> Self {
        self.steps.push(step);
        self
    }

    /// Loads the source address.
    pub fn source(self, to: Register) -> Self {
        self.then(Expression::Payload { base: NETWORK_HEADER, offset: IPV4_SOURCE, length: 4, to })
    }

    /// Loads the destination address.
    pub fn destination(self, to: Register) -> Self {
        self.then(Expression::Payload { base: NETWORK_HEADER, offset: IPV4_DESTINATION, length: 4, to })
    }

    /// Loads the transport protocol.
    pub fn protocol(self, to: Register) -> Self {
        self.then(Expression::Meta { key: META_PROTOCOL, to })
    }

    /// Loads the destination port.
    pub fn destination_port(self, to: Register) -> Self {
        self.then(Expression::Payload { base: TRANSPORT_HEADER, offset: DESTINATION_PORT, length: 2, to })
    }

    /// Goes on if the source lies in the range (or, not `inside`, outside of it).
    pub fn source_in(self, range: Cidr, inside: bool) -> Self {
        self.source(SCRATCH).masked(range, inside)
    }

    /// Goes on if the destination lies in the range (or, not `inside`, outside of it).
    pub fn destination_in(self, range: Cidr, inside: bool) -> Self {
        self.destination(SCRATCH).masked(range, inside)
    }

    fn masked(self, range: Cidr, inside: bool) -> Self {
        let data = crate::netlink::routes::octets(range.network());
        let xor = vec![0; data.len()];
        self.then(Expression::Bitwise { register: SCRATCH, mask: range.mask(), xor }).then(Expression::Compare {
            register: SCRATCH,
            equal: inside,
            data,
        })
    }

    /// Goes on if the packet's protocol is TCP.
    pub fn is_tcp(self) -> Self {
        let data = vec![crate::Protocol::Tcp.number()];
        self.protocol(SCRATCH).then(Expression::Compare { register: SCRATCH, equal: true, data })
    }

    /// Goes on if the destination is an address of this machine.
    pub fn to_this_machine(self) -> Self {
        self.then(Expression::Fib { address: FIB_DESTINATION, to: SCRATCH }).number_is(ROUTE_LOCAL, true)
    }

    /// Goes on if the source is an address of this machine.
    pub fn from_this_machine(self) -> Self {
        self.then(Expression::Fib { address: FIB_SOURCE, to: SCRATCH }).number_is(ROUTE_LOCAL, true)
    }

    /// Goes on if the packet came in over loopback (or, not `over`, otherwise).
    pub fn in_over_loopback(self, over: bool) -> Self {
        self.then(Expression::Meta { key: META_INPUT, to: SCRATCH }).number_is(LOOPBACK_INDEX, over)
    }

    /// Goes on if the packet leaves over loopback (or, not `over`, otherwise).
    pub fn out_over_loopback(self, over: bool) -> Self {
        self.then(Expression::Meta { key: META_OUTPUT, to: SCRATCH }).number_is(LOOPBACK_INDEX, over)
    }

    /// Goes on if the packet belongs to a connection that is under way.
    pub fn is_established(self) -> Self {
        self.then(Expression::Connection { key: CT_STATE, to: SCRATCH }).has_bits(CT_STATE_ESTABLISHED_OR_RELATED)
    }

    /// Goes on if the connection's destination was translated.
    pub fn is_destination_translated(self) -> Self {
        self.then(Expression::Connection { key: CT_STATUS, to: SCRATCH }).has_bits(CT_STATUS_DESTINATION_TRANSLATED)
    }

    /// Goes on if the packet's mark has these bits.
    pub fn has_mark(self, bits: u32) -> Self {
        self.then(Expression::Meta { key: META_MARK, to: SCRATCH }).has_bits(bits)
    }

    /// Sets bits of the packet's mark.
    pub fn set_mark(self, bits: u32) -> Self {
        self.change_mark(!bits, bits)
    }

    /// Clears bits of the packet's mark.
    pub fn clear_mark(self, bits: u32) -> Self {
        self.change_mark(!bits, 0)
    }

    fn change_mark(self, mask: u32, xor: u32) -> Self {
        let (mask, xor) = (mask.to_ne_bytes().to_vec(), xor.to_ne_bytes().to_vec());
        self.then(Expression::Meta { key: META_MARK, to: SCRATCH })
            .then(Expression::Bitwise { register: SCRATCH, mask, xor })
            .then(Expression::SetMark { from: SCRATCH })
    }

    fn has_bits(self, bits: u32) -> Self {
        self.then(Expression::Bitwise { register: SCRATCH, mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] })
            .number_is(0, false)
    }

    fn number_is(self, number: u32, equal: bool) -> Self {
        self.then(Expression::Compare { register: SCRATCH, equal, data: number.to_ne_bytes().to_vec() })
    }

    /// Takes the verdict of a map.
    pub fn verdict_map(self, set: &str, from: Register) -> Self {
        self.then(Expression::VerdictMap { set: set.to_owned(), from })
    }

    /// Looks a key up, loads the map's value.
    pub fn map(self, set: &str, from: Register, to: Register) -> Self {
        self.then(Expression::Lookup { set: set.to_owned(), from, to: Some(to) })
    }

    /// Goes on if the set has the key.
    pub fn in_set(self, set: &str, from: Register) -> Self {
        self.then(Expression::Lookup { set: set.to_owned(), from, to: None })
    }

    /// Decides.
    pub fn decide(self, verdict: Verdict) -> Self {
        self.then(Expression::Decide(verdict))
    }

    /// Writes the steps as `NFTA_RULE_EXPRESSIONS`.
    pub(crate) fn write(&self, a: &mut Attributes<'_>, kind: u16) {
        a.nest(kind, |a| self.steps.iter().for_each(|step| step.write(a)));
    }
}
