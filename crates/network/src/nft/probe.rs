//! Which part of nftables the kernel lacks, asked only after a table was refused.

use nix::errno::Errno;

use crate::error::NetworkError;
use crate::netlink::Socket;
use crate::nft::{Batch, Expression, Hook, Priority, Register, Rule, Start};

const TABLE: &str = "skiff-probe";

/// The error in clearer words: when the kernel lacks an expression or chain type that skiff needs, its name.
pub fn explain(socket: &mut Socket, error: NetworkError) -> NetworkError {
    match error.errno() {
        Some(Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EINVAL) => missing(socket).unwrap_or(error),
        _ => error,
    }
}

/// Tries each building block in a transaction of its own that ends by removing its table again.
fn missing(socket: &mut Socket) -> Option<NetworkError> {
    let register = Register(0);
    let constant =
        |number| Rule::new().then(Expression::Constant { data: super::Words::new().number(number), to: register });
    let probes: [(&'static str, &str, Hook, Rule); 9] = [
        ("nftables filter chains (CONFIG_NF_TABLES_IPV4, module nf_tables)", "filter", Hook::Forward, Rule::new()),
        (
            "nftables nat chains (CONFIG_NFT_NAT, CONFIG_NF_NAT, module nft_chain_nat)",
            "nat",
            Hook::Prerouting,
            Rule::new(),
        ),
        (
            "nftables destination NAT (CONFIG_NFT_NAT, module nft_nat)",
            "nat",
            Hook::Prerouting,
            constant(0).then(Expression::DestinationNat { address: register, port: register }),
        ),
        (
            "nftables masquerading (CONFIG_NFT_MASQ, module nft_masq)",
            "nat",
            Hook::Postrouting,
            Rule::new().then(Expression::Masquerade),
        ),
        (
            "nftables random numbers (CONFIG_NFT_NUMGEN, module nft_numgen)",
            "nat",
            Hook::Prerouting,
            Rule::new().then(Expression::Random { modulus: 2, offset: 0, to: register }),
        ),
        (
            "nftables hashes (CONFIG_NFT_HASH, module nft_hash)",
            "nat",
            Hook::Prerouting,
            constant(0).then(Expression::Hash { from: register, modulus: 2, offset: 0, to: Register(1) }),
        ),
        (
            "nftables route lookups (CONFIG_NFT_FIB_IPV4, module nft_fib_ipv4)",
            "filter",
            Hook::Forward,
            Rule::new().to_this_machine(),
        ),
        (
            "nftables connection tracking (CONFIG_NFT_CT, module nft_ct)",
            "filter",
            Hook::Forward,
            Rule::new().is_established(),
        ),
        (
            "nftables rejection (CONFIG_NFT_REJECT_IPV4, module nft_reject_ipv4)",
            "filter",
            Hook::Forward,
            Rule::new().then(Expression::RejectUnreachable),
        ),
    ];
    let refused = probes.into_iter().find(|(_, kind, hook, rule)| {
        let mut batch = Batch::new(TABLE);
        batch.start_table(Start::Recreate, &[]);
        batch.add_base_chain("probe", kind, *hook, Priority::FILTER.after(200));
        batch.add_rule("probe", rule);
        batch.remove_table();
        matches!(batch.commit(socket).map_err(|error| error.errno()), Err(Some(Errno::ENOENT | Errno::EOPNOTSUPP)))
    });
    refused.map(|(feature, ..)| NetworkError::Missing(feature))
}
