//! The proxy: holds what was applied and brings the kernel to what should be.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::chain::Chain;
use super::diff::{Diff, diff};
use super::rules::{NodeFacts, RuleSet, rules};
use super::stale::stale;
use super::table::{BASE_CHAINS, write_base, write_chains, write_diff};
use crate::cidr::Cidr;
use crate::error::{NetworkError, Result};
use crate::netlink::{Socket, conntrack};
use crate::nft::{Batch, Start, TableIdentity, chains, generation, probe, table_identity};
use crate::port::Protocol;

/// What a proxy needs to know.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The node that it runs on.
    pub node: NodeFacts,
    /// The pods' addresses in the whole cluster; `None` when not known.
    pub cluster_cidr: Option<Cidr>,
    /// The services' addresses; `None` when not known.
    pub service_cidr: Option<Cidr>,
    /// Name of the nftables table.
    pub table: String,
}

impl ProxyConfig {
    /// The configuration for a node, with the usual table name.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node: NodeFacts { name: node_name.into(), zone: None },
            cluster_cidr: None,
            service_cidr: None,
            table: "skiff-services".to_owned(),
        }
    }
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Elements added or changed.
    pub added: usize,
    /// Elements removed or changed.
    pub removed: usize,
    /// Whether the whole table was made anew.
    pub rebuilt: bool,
    /// Tracked UDP flows that were forgotten.
    pub flows_deleted: usize,
}

/// The service proxy of one node. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct Proxy {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    config: ProxyConfig,
    socket: Socket,
    /// What the kernel has; `None` when that is not known.
    applied: Option<Applied>,
}

#[derive(Debug)]
struct Applied {
    rules: RuleSet,
    table: Option<TableIdentity>,
    generation: u32,
}

impl Proxy {
    /// A proxy. Nothing changes in the kernel before the first sync: the table of an earlier life goes on serving.
    pub fn new(config: ProxyConfig) -> Result<Self> {
        let mut socket = Socket::netfilter()?;
        generation(&mut socket)?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner { config, socket, applied: None })) })
    }

    /// Brings the kernel to what these objects say, in one transaction. The first sync makes the table anew, in place of
    /// the one of an earlier life. After an error the next sync makes it anew.
    pub async fn sync(&self, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Result<SyncReport> {
        let (services, slices) = (services.to_vec(), slices.to_vec());
        self.blocking(move |inner| inner.sync(&services, &slices)).await
    }

    /// Makes the table anew if someone else removed or changed it. `thorough` does so even if only the number of
    /// transactions in this namespace says that something may have changed. Whether it was made anew.
    pub async fn repair(&self, thorough: bool) -> Result<bool> {
        self.blocking(move |inner| inner.repair(thorough)).await
    }

    /// Removes the table: services are no longer served.
    pub async fn cleanup(&self) -> Result<()> {
        self.blocking(|inner| {
            inner.applied = None;
            let mut batch = Batch::new(&inner.config.table);
            batch.remove_table();
            batch.commit(&mut inner.socket)
        })
        .await
    }

    /// The name of the node that it runs on.
    pub fn node_name(&self) -> String {
        self.lock().config.node.name.clone()
    }

    /// The node's zone, for topology hints; the next sync heeds it.
    pub fn set_zone(&self, zone: Option<String>) {
        self.lock().config.node.zone = zone;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&mut inner.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .unwrap_or(Err(NetworkError::Interrupted("a change of the service rules")))
    }
}

impl Inner {
    fn sync(&mut self, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Result<SyncReport> {
        let old = self.applied.as_ref().map(|applied| &applied.rules);
        let wanted = rules(old, services, slices, &self.config.node);
        let change = diff(old.unwrap_or(&RuleSet::default()), &wanted);
        let rebuilt = old.is_none();
        let touches_udp = change.touches_udp();
        let mut report =
            SyncReport { added: change.added.len(), removed: change.removed.len(), rebuilt, ..SyncReport::default() };
        let old = self.applied.take();
        match rebuilt {
            true => self.rebuild(&wanted)?,
            false => self.commit(&change)?,
        }
        let flows_deleted =
            if touches_udp { self.forget_flows(old.as_ref().map(|a| &a.rules), &wanted) } else { Ok(0) };
        let table = match old {
            Some(old) if change.is_empty() => (old.table, old.generation),
            _ => (table_identity(&mut self.socket, &self.config.table)?, generation(&mut self.socket)?),
        };
        self.applied = Some(Applied { rules: wanted, table: table.0, generation: table.1 });
        // The rules are in place; only the flows of before could not be cleared.
        match flows_deleted {
            Ok(count) => report.flows_deleted = count,
            Err(error) => tracing::warn!(%error, "stale UDP flows stay until they time out"),
        }
        Ok(report)
    }

    /// A packet that is under way sees rules of before and elements of after the transaction. So chains are made in a
    /// transaction of their own, before any element leads to them.
    fn commit(&mut self, change: &Diff) -> Result<()> {
        let mut chains = self.batch();
        write_chains(&mut chains, &change.chains_added, &self.config);
        chains.commit(&mut self.socket)?;
        let mut elements = self.batch();
        write_diff(&mut elements, change);
        elements.commit(&mut self.socket)
    }

    /// Gives the table this content, whatever it holds now; if it has another form, by making it anew.
    fn rebuild(&mut self, rules: &RuleSet) -> Result<()> {
        let known: BTreeSet<String> = chains(&mut self.socket, &self.config.table)?.into_iter().collect();
        if self.rebuild_in_place(rules, &known).is_ok() {
            return Ok(());
        }
        let mut batch = self.batch();
        write_base(&mut batch, Start::Recreate, &self.config);
        write_chains(&mut batch, rules.chains(), &self.config);
        write_diff(&mut batch, &diff(&RuleSet::default(), rules));
        batch.commit(&mut self.socket).map_err(|error| probe::explain(&mut self.socket, error))
    }

    fn rebuild_in_place(&mut self, rules: &RuleSet, known: &BTreeSet<String>) -> Result<()> {
        if !known.is_empty() {
            let mut batch = self.batch();
            let missing = rules.chains().iter().filter(|chain| !known.contains(&chain.name()));
            write_chains(&mut batch, missing, &self.config);
            batch.commit(&mut self.socket)?;
        }
        let mut batch = self.batch();
        write_base(&mut batch, Start::InPlace, &self.config);
        write_chains(&mut batch, rules.chains(), &self.config);
        write_diff(&mut batch, &diff(&RuleSet::default(), rules));
        let needed: BTreeSet<String> =
            rules.chains().iter().map(Chain::name).chain(BASE_CHAINS.map(str::to_owned)).collect();
        known.difference(&needed).for_each(|chain| batch.delete_chain(chain));
        batch.commit(&mut self.socket)
    }

    fn batch(&self) -> Batch {
        Batch::new(&self.config.table)
    }

    fn forget_flows(&mut self, old: Option<&RuleSet>, new: &RuleSet) -> Result<usize> {
        let flows = conntrack::flows(&mut self.socket, Protocol::Udp.number())?;
        let stale = stale(&flows, old, new);
        for flow in &stale {
            conntrack::delete(&mut self.socket, flow)?;
        }
        Ok(stale.len())
    }

    fn repair(&mut self, thorough: bool) -> Result<bool> {
        let Some(applied) = &self.applied else { return Ok(false) };
        let now = generation(&mut self.socket)?;
        if now == applied.generation {
            return Ok(false);
        }
        let table = table_identity(&mut self.socket, &self.config.table)?;
        if table == applied.table && !thorough {
            return Ok(false);
        }
        let rules = applied.rules.clone();
        self.rebuild(&rules)?;
        let table = table_identity(&mut self.socket, &self.config.table)?;
        self.applied = Some(Applied { rules, table, generation: generation(&mut self.socket)? });
        Ok(true)
    }
}
