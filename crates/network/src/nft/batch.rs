//! A transaction: tables, chains, rules, sets and their elements, in order.

use nix::errno::Errno;

use crate::error::{NetworkError, Result};
use crate::netlink::Socket;
use crate::netlink::message::{Attributes, MessageBuffer};
use crate::netlink::socket::{ACK, CREATE, REQUEST};
use crate::nft::expression::{DATA_VALUE, Rule, Verdict};
use crate::nft::{FAMILY_IPV4, SUBSYSTEM, Words};

/// `NFNL_MSG_BATCH_…`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFT_MSG_…`.
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
/// `NLM_F_APPEND`: at the end of the chain.
const APPEND: u16 = 0x800;
/// The first attributes of tables, chains, rules, sets and element lists.
const TABLE: u16 = 1;
const NAME_OF_TABLE: u16 = 1;
/// `NFTA_CHAIN_…`, `NFTA_HOOK_…`.
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const POLICY_ACCEPT: u32 = 1;
/// `NFTA_RULE_…`.
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
/// `NFTA_SET_…`.
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
const FLAG_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`.
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
/// `NFTA_SET_ELEM_LIST_…`, `NFTA_SET_ELEM_…`.
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;

/// An element list is closed at this size: an attribute's length has 16 bits.
const ELEMENTS_BYTES_MAX: usize = 48 * 1024;

/// Where a base chain hooks into the packets' way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// As a packet comes in, before it is routed.
    Prerouting = 0,
    /// For this machine.
    Input = 1,
    /// From one link to another.
    Forward = 2,
    /// From this machine.
    Output = 3,
    /// As a packet leaves.
    Postrouting = 4,
}

/// The order of base chains on one hook: lower runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority(pub i32);

impl Priority {
    /// Before connection tracking.
    pub const RAW: Self = Self(-300);
    /// Where destinations are translated.
    pub const DESTINATION_NAT: Self = Self(-100);
    /// Where packets are filtered.
    pub const FILTER: Self = Self(0);
    /// Where sources are translated.
    pub const SOURCE_NAT: Self = Self(100);

    /// This much later.
    pub const fn after(self, steps: i32) -> Self {
        Self(self.0 + steps)
    }
}

/// A field of a key or value, with `nft`'s number for its type, so that `nft list` can print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SetKey {
    /// An IPv4 address.
    Address = 7,
    /// A transport protocol.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// A number. With the type `integer`, nft 1.0.6 fails to list the map.
    Number = 19,
}

/// What a map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetData {
    /// It is a set.
    None,
    /// Verdicts.
    Verdict,
    /// Fields.
    Fields(&'static [SetKey]),
}

/// A set or map of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// The fields of a key.
    pub key: &'static [SetKey],
    /// The values.
    pub data: SetData,
}

/// What an element maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: an element of a set.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// Fields.
    Fields(Words),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The key.
    pub key: Words,
    /// The value.
    pub value: Value,
}

/// How to give a table new content.
///
/// A packet on its way during a transaction sees set elements of the new generation as soon as it begins, but rules of the
/// generation in which it entered the base chain. So a table that is deleted and made anew loses a few packets: they look up
/// keys in the old sets, where nothing is valid any more. Chains and sets that stay do not have that gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Empty what is there, make what is not.
    InPlace,
    /// Delete the table first: for one of another form.
    Recreate,
}

/// A transaction on one table under construction.
#[derive(Debug)]
pub struct Batch {
    table: String,
    buffer: MessageBuffer,
    /// What each message asks for, for errors; the sequence number is the index plus one.
    labels: Vec<String>,
    last: usize,
    sets: u32,
}

impl Batch {
    /// An empty transaction on `table` (family ip).
    pub fn new(table: &str) -> Self {
        let mut batch =
            Self { table: table.to_owned(), buffer: MessageBuffer::new(), labels: Vec::new(), last: 0, sets: 0 };
        batch.write((BATCH_BEGIN, REQUEST), frame_header(), "begin a transaction".to_owned(), |_| {});
        batch
    }

    /// Whether nothing was asked for yet.
    pub fn is_empty(&self) -> bool {
        self.labels.len() == 1
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes().len()
    }

    /// Starts the table's content anew: `InPlace` keeps table, chains and sets that are there and empties them.
    pub fn start_table(&mut self, start: Start, sets: &[&Set]) {
        self.add_table();
        if start == Start::Recreate {
            self.delete_table();
            self.add_table();
        }
        sets.iter().for_each(|set| self.add_set(set));
        if start == Start::InPlace {
            let table = self.table.clone();
            self.ask(DELETE_RULE, 0, "delete all rules".to_owned(), |a| a.text(TABLE, &table));
            sets.iter().for_each(|set| self.flush_set(set.name));
        }
    }

    fn flush_set(&mut self, set: &str) {
        let table = self.table.clone();
        self.ask(DELETE_ELEMENT, 0, format!("empty set {set}"), |a| {
            a.text(TABLE, &table);
            a.text(ELEMENTS_SET, set);
        });
    }

    /// No table with its name; without error when there is none.
    pub fn remove_table(&mut self) {
        self.add_table();
        self.delete_table();
    }

    fn add_table(&mut self) {
        let table = self.table.clone();
        self.ask(NEW_TABLE, CREATE, format!("make table {table}"), |a| a.text(NAME_OF_TABLE, &table));
    }

    fn delete_table(&mut self) {
        let table = self.table.clone();
        self.ask(DELETE_TABLE, 0, format!("delete table {table}"), |a| a.text(NAME_OF_TABLE, &table));
    }

    /// A chain that other chains lead to.
    pub fn add_chain(&mut self, name: &str) {
        let table = self.table.clone();
        self.ask(NEW_CHAIN, CREATE, format!("make chain {name}"), |a| {
            a.text(TABLE, &table);
            a.text(CHAIN_NAME, name);
        });
    }

    /// A chain on a hook; `kind` is `filter` or `nat`. What no rule decides passes.
    pub fn add_base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: Priority) {
        let table = self.table.clone();
        self.ask(NEW_CHAIN, CREATE, format!("make {kind} chain {name}"), |a| {
            a.text(TABLE, &table);
            a.text(CHAIN_NAME, name);
            a.nest(CHAIN_HOOK, |a| {
                a.be32(HOOK_NUMBER, hook as u32);
                a.be32(HOOK_PRIORITY, priority.0 as u32);
            });
            a.be32(CHAIN_POLICY, POLICY_ACCEPT);
            a.text(CHAIN_TYPE, kind);
        });
    }

    /// Removes a chain with its rules. Nothing may lead to it any more.
    pub fn delete_chain(&mut self, name: &str) {
        let table = self.table.clone();
        self.ask(DELETE_CHAIN, 0, format!("delete chain {name}"), |a| {
            a.text(TABLE, &table);
            a.text(CHAIN_NAME, name);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        let table = self.table.clone();
        let steps: Vec<_> = rule.steps().iter().map(|step| step.name()).collect();
        self.ask(NEW_RULE, CREATE | APPEND, format!("add a rule ({}) to chain {chain}", steps.join(" ")), |a| {
            a.text(TABLE, &table);
            a.text(RULE_CHAIN, chain);
            rule.write(a, RULE_EXPRESSIONS);
        });
    }

    /// A set or map.
    pub fn add_set(&mut self, set: &Set) {
        let table = self.table.clone();
        self.sets += 1;
        let id = self.sets;
        self.ask(NEW_SET, CREATE, format!("make set {}", set.name), |a| {
            a.text(TABLE, &table);
            a.text(SET_NAME, set.name);
            a.be32(SET_FLAGS, if set.data == SetData::None { 0 } else { FLAG_MAP });
            a.be32(SET_KEY_TYPE, concatenated(set.key));
            a.be32(SET_KEY_LENGTH, 4 * set.key.len() as u32);
            match set.data {
                SetData::None => {}
                SetData::Verdict => a.be32(SET_DATA_TYPE, DATA_TYPE_VERDICT),
                SetData::Fields(fields) => {
                    a.be32(SET_DATA_TYPE, concatenated(fields));
                    a.be32(SET_DATA_LENGTH, 4 * fields.len() as u32);
                }
            }
            a.be32(SET_ID, id);
        });
    }

    /// Adds elements to a set or map. A key may come once only.
    pub fn add_elements(&mut self, set: &str, elements: impl IntoIterator<Item = Element>) {
        self.elements((NEW_ELEMENT, CREATE), set, elements, |a, element| {
            write_key(a, &element.key);
            match &element.value {
                Value::None => {}
                Value::Verdict(verdict) => verdict.write(a, ELEMENT_DATA),
                Value::Fields(words) => a.nest(ELEMENT_DATA, |a| a.bytes(DATA_VALUE, words.as_bytes())),
            }
        });
    }

    /// Deletes elements by their keys, all of which must be there.
    pub fn delete_elements(&mut self, set: &str, keys: impl IntoIterator<Item = Words>) {
        self.elements((DELETE_ELEMENT, 0), set, keys, |a, key| write_key(a, &key));
    }

    fn elements<T>(
        &mut self,
        (kind, flags): (u16, u16),
        set: &str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Attributes<'_>, T),
    ) {
        let table = self.table.clone();
        let label = if kind == NEW_ELEMENT { "add elements to" } else { "delete elements of" };
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            self.ask(kind, flags, format!("{label} {set}"), |a| {
                a.text(TABLE, &table);
                a.text(ELEMENTS_SET, set);
                a.nest(ELEMENTS, |a| {
                    let start = a.position();
                    while a.position() - start < ELEMENTS_BYTES_MAX
                        && let Some(item) = items.next()
                    {
                        a.nest(LIST_ELEMENT, |a| write(a, item));
                    }
                });
            });
        }
    }

    /// Sends the transaction. All of it holds from one packet to the next, or none of it.
    pub fn commit(mut self, socket: &mut Socket) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let last = self.last as u32;
        self.write((BATCH_END, REQUEST), frame_header(), "end a transaction".to_owned(), |_| {});
        socket.transaction(self.buffer.bytes(), last).map_err(|(sequence, error)| {
            let label = self.labels.get((sequence as usize).wrapping_sub(1)).map_or("transaction", String::as_str);
            match error.errno {
                // No such subsystem, or no such family in it.
                Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT if sequence <= 2 => {
                    NetworkError::Missing("nftables (CONFIG_NF_TABLES and CONFIG_NF_TABLES_IPV4, module nf_tables)")
                }
                _ => NetworkError::kernel(format!("nftables, table {}: {label}", self.table), error),
            }
        })
    }

    fn ask(&mut self, kind: u16, flags: u16, label: String, write: impl FnOnce(&mut Attributes<'_>)) {
        self.last = self.labels.len() + 1;
        // Each message asks for an answer: the kernel sends them together when the transaction is decided, and the
        // last one's tells that it was.
        self.write((SUBSYSTEM << 8 | kind, flags | REQUEST | ACK), [FAMILY_IPV4, 0, 0, 0], label, write);
    }

    fn write(
        &mut self,
        (kind, flags): (u16, u16),
        header: [u8; 4],
        label: String,
        write: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.labels.push(label);
        self.buffer.message((kind, flags, self.labels.len() as u32), &header, write);
    }
}

/// `struct nfgenmsg` of the frame: it names the subsystem.
fn frame_header() -> [u8; 4] {
    [0, 0, 0, SUBSYSTEM as u8]
}

fn write_key(a: &mut Attributes<'_>, key: &Words) {
    a.nest(ELEMENT_KEY, |a| a.bytes(DATA_VALUE, key.as_bytes()));
}

/// `nft`'s number for a concatenation: six bits for each field.
fn concatenated(fields: &[SetKey]) -> u32 {
    fields.iter().fold(0, |sum, field| sum << 6 | *field as u32)
}
