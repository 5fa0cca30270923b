//! One chain as the catalog keeps track of it: its segments, their files, their growth.
//!
//! Invariant: what [`Chain`] publishes is never ahead of what was seen, and a segment whose bytes can still be had
//! under any name or descriptor is not lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::adopt::{learn, note, rehold, update, update_links};
use super::chain::{Chain, Loss, Segment, Source};
use super::docker::Docker;
use super::env::Env;
use super::feed::Feed;
use super::head::Prefix;
use super::path::{self, LogName};
use super::segment::{Content, FileId, Known, Named, Sighting, assign, group, place};
use super::sight::{How, Sightings};
use crate::clock::Time;
use crate::files::Meta;
use crate::pods::PodState;
use crate::record::ChainMeta;

/// How long a gzip may be unreadable and unchanged before it is given up.
const DAMAGED_WAIT: Duration = Duration::from_secs(5);

/// A chain and what only the catalog knows of it.
pub struct Tracked {
    /// The published part.
    pub chain: Arc<Chain>,
    /// Set if the live name is a link into docker's directory.
    pub docker: Option<Docker>,
    /// Its segments in order, the same as the chain's.
    pub segments: Vec<Known>,
    /// Whether the workers have been told of it.
    pub published: bool,
    /// When they are told, container id or not.
    pub publish_by: Time,
    /// When they are told, whether anything is known of its pod or not.
    pub metadata_by: Time,
    /// Since when a directory that could be listed has no file of it.
    pub absent_since: Option<Time>,
    /// Gzips that cannot be read, and since when they are as they are.
    pub damaged: Vec<(LogName, Meta, Time)>,
    /// By what the sinks were last asked whether any wants it.
    judged: Option<Arc<ChainMeta>>,
    /// What they answered.
    wanted: bool,
}

/// What measuring found.
#[derive(Default)]
pub struct Growth {
    /// Something grew.
    pub grown: bool,
    /// By this much.
    pub bytes: u64,
    /// Something changed that only a listing can explain.
    pub suspicious: bool,
    /// The change time of a held file moved, by growing or by another name.
    pub touched: bool,
    /// Lengths found by path: they hold only if the directory has not changed meanwhile.
    by_path: Vec<(usize, Meta)>,
}

impl Growth {
    /// Whether lengths wait for the directory's word.
    pub fn needs_directory(&self) -> bool {
        !self.by_path.is_empty()
    }
}

impl Tracked {
    /// A chain just found.
    pub fn new(
        chain: Chain,
        docker: Option<Docker>,
        publish_by: Time,
        metadata_by: Time,
    ) -> Tracked {
        Tracked {
            chain: Arc::new(chain),
            docker,
            segments: Vec::new(),
            published: false,
            publish_by,
            metadata_by,
            absent_since: None,
            damaged: Vec::new(),
            judged: None,
            wanted: true,
        }
    }

    /// Whether something has become known since the sinks were asked whether any wants it.
    pub fn is_unjudged(&self) -> bool {
        let meta = self.chain.meta();
        !self
            .judged
            .as_ref()
            .is_some_and(|judged| Arc::ptr_eq(judged, &meta))
    }

    /// Has the sinks asked again at the next look: they are others now.
    pub fn forget_judgement(&mut self) {
        self.judged = None;
    }

    /// Asks the sinks whether any wants it, if something has become known. One that nobody wanted until now is looked
    /// into; the descriptors of one that nobody wants any more go when the workers have passed it.
    pub fn judge(&mut self, env: &Env) {
        if !self.is_unjudged() {
            return;
        }
        let meta = self.chain.meta();
        self.wanted =
            self.chain.excluded.is_none() && env.wanted.as_ref().is_none_or(|wanted| wanted(&meta));
        if !self.wanted {
            self.chain.set_unopened(true);
        } else if self.chain.is_unopened() {
            self.chain.request_look();
        }
        self.judged = Some(meta);
    }

    /// How its files are to be looked into. What nobody wanted until now is looked into whole.
    pub fn how(&self, verify: bool) -> How {
        How {
            unopened: !self.wanted,
            verify: verify || self.chain.is_unopened(),
        }
    }

    /// Its files have been looked into, all of them if `sure`: what comes from now on is wanted, if anything is.
    pub fn looked_into(&self, sure: bool) {
        if self.wanted && sure {
            self.chain.set_unopened(false);
        }
    }

    /// Tells the workers, if they know of the chain.
    pub fn changed(&self, env: &Env) {
        if self.published {
            env.changed(&self.chain);
        }
    }

    /// When it is introduced at the latest.
    pub fn introduced_by(&self) -> Time {
        match self.chain.meta().pod_state {
            PodState::Awaited => self.publish_by.max(self.metadata_by),
            _ => self.publish_by,
        }
    }

    /// Completes the metadata by the container links, and tells the workers of the chain when it is complete or has
    /// waited long enough. `directory`: the container's.
    pub fn introduce(&mut self, env: &mut Env, now: Time, directory: &Path) {
        let meta = self.chain.meta();
        if meta.container_id.is_empty() {
            let live = directory.join(format!("{}.log", meta.key.restart));
            let id = path::log_key(&live).and_then(|key| env.links.id(&key).map(str::to_owned));
            if let Some(id) = id {
                self.chain.set_meta(ChainMeta {
                    container_id: id,
                    ..(*meta).clone()
                });
                self.changed(env);
            }
        }
        let meta = self.chain.meta();
        let known = !meta.container_id.is_empty();
        let asked = meta.pod_state != PodState::Awaited || now >= self.metadata_by;
        let named = known || now >= self.publish_by || !env.links.present();
        if !self.published && asked && named {
            self.published = true;
            Feed::introduce(&env.feeds, &self.chain, self.chain.preexisting);
        }
    }

    /// Looks at the lengths of all files that may grow.
    pub fn measure(&mut self, env: &mut Env, now: Time) -> Growth {
        let mut growth = Growth::default();
        for (index, known) in self.segments.iter_mut().enumerate() {
            if known.segment.gone().is_some() {
                continue;
            }
            let serial = known.segment.serial;
            let live = known.live();
            known.held = env.keeper.get(serial).is_some();
            let Some(held) = env.keeper.get(serial) else {
                if live {
                    match env.files.stat(&known.segment.source().path) {
                        Ok(meta) => growth.by_path.push((index, meta)),
                        Err(_) => growth.suspicious = true,
                    }
                }
                continue;
            };
            (known.file, known.gzip) = (FileId::of(&held.meta), held.gzip);
            let nameless = known.names.is_empty() || held.meta.links == 0;
            let quiet = now.since(known.grown_at) >= super::LINGER;
            if !live && !nameless && quiet && known.segment.ended() {
                continue;
            }
            let handle = Arc::clone(&held.handle);
            match handle.meta() {
                Ok(meta) if !known.gzip && meta.len_bytes < known.raw_len => {
                    growth.suspicious |= meta.links > 0;
                    if meta.links == 0 {
                        // No listing can explain it any more.
                        env.keeper.close(serial);
                        known.segment.lose(Loss::Truncated);
                        known.missed = known.names.is_empty();
                        growth.grown = true;
                    }
                }
                Ok(meta) => {
                    growth.bytes += meta.len_bytes.saturating_sub(known.raw_len);
                    growth.touched |= meta.changed_ns != held.meta.changed_ns;
                    growth.grown |= note(&self.chain, known, &meta, now);
                    if known.segment.identity().is_none() {
                        let head = env.heads.read(handle.as_ref(), known.gzip, meta.len_bytes);
                        growth.grown |= head.is_ok_and(|head| learn(known, &head));
                    }
                    let grown_at = known.grown_at;
                    env.keeper.update(serial, |held| {
                        held.grown_at = grown_at;
                        update_links(held, meta, now);
                    });
                }
                Err(error) => env.open_failed(&known.segment.source().path, &error),
            }
        }
        growth
    }

    /// Whether the file that the runtime appends to is there and held, so that its next rotation shows in its change
    /// time.
    pub fn holds_live(&self) -> bool {
        self.segments
            .iter()
            .any(|known| known.live() && known.held && known.segment.gone().is_none())
    }

    /// Takes over lengths found by path, when the directory has not changed since it was listed.
    pub fn apply_by_path(&mut self, env: &mut Env, growth: &mut Growth, now: Time) {
        for (index, meta) in std::mem::take(&mut growth.by_path) {
            let Some(known) = self.segments.get_mut(index) else {
                continue;
            };
            if FileId::of(&meta) != known.file || meta.len_bytes < known.raw_len {
                growth.suspicious = true;
                continue;
            }
            let grown = note(&self.chain, known, &meta, now);
            growth.grown |= grown;
            if grown && !self.chain.is_unopened() {
                rehold(env, &self.chain, known);
            }
        }
    }

    /// Holds again what was let go for want of room and is still, or again, unread.
    pub fn rehold_unread(&mut self, env: &mut Env) {
        const PER_LOOK_MAX: usize = 4;
        if self.chain.is_unopened() {
            return;
        }
        let mut tried = 0;
        for known in &mut self.segments {
            let segment = &known.segment;
            let unread = segment.passed_by_all() < segment.len_bytes();
            let wanted = unread && segment.gone().is_none() && !known.names.is_empty();
            if wanted && env.keeper.get(segment.serial).is_none() && tried < PER_LOOK_MAX {
                tried += 1;
                rehold(env, &self.chain, known);
            }
        }
    }

    /// Makes the segments agree with what a listing found. `settled`: what it lacks is not there.
    /// Returns whether all could be looked into.
    pub fn reconcile(
        &mut self,
        env: &mut Env,
        now: Time,
        mut seen: Sightings,
        settled: bool,
    ) -> bool {
        let before: Vec<u64> = self.serials();
        self.note_damaged(&mut seen, now);
        let sure = !seen.uncertain;
        let assigned = assign(&self.segments, &seen.list);
        let complete = settled && sure;
        let mut mine: Vec<Vec<Sighting>> = self.segments.iter().map(|_| Vec::new()).collect();
        let mut new = Vec::new();
        for (mut sighting, index) in seen.list.into_iter().zip(assigned) {
            if let Content::Rewritten(_, serial) = sighting.content {
                let held = self.truncated(env, serial);
                sighting.handle = held.or(sighting.handle);
            }
            match index.and_then(|index| mine.get_mut(index)) {
                Some(list) => list.push(sighting),
                None => new.push(sighting),
            }
        }
        for (known, sightings) in self.segments.iter_mut().zip(mine) {
            update(env, &self.chain, known, sightings, now);
            known.missed = known.names.is_empty() && (complete || known.missed);
        }
        for group in group(new) {
            match group.first().map(|sighting| &sighting.content) {
                Some(Content::Head(_) | Content::Rewritten(..) | Content::Unopened) => {
                    self.insert(env, group, now);
                }
                Some(Content::Damaged) => self.judge_damaged(env, group, now),
                _ => {}
            }
        }
        self.lose_missing(env);
        if before != self.serials() {
            self.publish_segments();
        }
        sure
    }

    fn serials(&self) -> Vec<u64> {
        self.segments
            .iter()
            .map(|known| known.segment.serial)
            .collect()
    }

    /// Shows the workers the segments as they are now.
    pub fn publish_segments(&self) {
        let segments = self.segments.iter().map(|known| Arc::clone(&known.segment));
        self.chain.set_segments(segments.collect());
    }

    /// The file of this segment has other content now. Gives up the descriptor, which belongs to that content.
    fn truncated(
        &mut self,
        env: &mut Env,
        serial: u64,
    ) -> Option<Arc<dyn crate::files::FileHandle>> {
        env.stats.truncations.add();
        if let Some(known) = self
            .segments
            .iter_mut()
            .find(|known| known.segment.serial == serial)
        {
            known.truncated = true;
        }
        env.keeper.close(serial).map(|held| held.handle)
    }

    fn insert(&mut self, env: &mut Env, group: Vec<Sighting>, now: Time) {
        let Some(sighting) = group.first() else {
            return;
        };
        let serial = env.serial();
        let source = Source {
            path: sighting.path.clone(),
            gzip: sighting.name.gzip,
            handle: None,
        };
        let mut known = Known {
            segment: Arc::new(Segment::new(serial, env.slots.len(), source)),
            names: Vec::new(),
            last_name: sighting.name.clone(),
            file: FileId::of(&sighting.meta),
            gzip: sighting.name.gzip,
            raw_len: 0,
            stamp_ns: sighting.content.head().and_then(|head| head.stamp_ns),
            prefix: Prefix::of(b""),
            held: false,
            found_at: now,
            grown_at: now,
            missed: false,
            truncated: false,
            cache_dropped: false,
        };
        for slot in env.free_slots() {
            known.segment.pass(slot, u64::MAX);
        }
        let at = place(&self.segments, &sighting.name, known.stamp_ns);
        update(env, &self.chain, &mut known, group, now);
        // Most chains have one segment for ever.
        self.segments.reserve_exact(1);
        self.segments.insert(at, known);
    }

    /// What has neither a name nor a descriptor cannot be read any more.
    fn lose_missing(&mut self, env: &mut Env) {
        for known in &mut self.segments {
            let held = env.keeper.get(known.segment.serial).is_some();
            if known.segment.gone().is_some() || held || !known.names.is_empty() {
                continue;
            }
            if known.truncated {
                known.missed = true;
                known.segment.lose(Loss::Truncated);
            } else if known.missed {
                give_up(env, known);
            }
        }
    }

    /// Gzips that cannot be read are waited for: docker writes them in place. After a while they count as corrupt.
    fn note_damaged(&mut self, seen: &mut Sightings, now: Time) {
        let before = std::mem::take(&mut self.damaged);
        for sighting in &mut seen.list {
            if !matches!(sighting.content, Content::Damaged) {
                continue;
            }
            let same = |(name, meta, _): &&(LogName, Meta, Time)| {
                *name == sighting.name && *meta == sighting.meta
            };
            let since = before.iter().find(same).map_or(now, |(_, _, since)| *since);
            self.damaged
                .push((sighting.name.clone(), sighting.meta, since));
            seen.uncertain |= now.since(since) < DAMAGED_WAIT;
        }
    }

    /// A gzip that has been unreadable and unchanged for long enough, and is not just the copy of a readable file, is
    /// the end of the segment that had its name, or else a segment of its own, lost from the start. Then its stored
    /// length is the least that was lost.
    fn judge_damaged(&mut self, env: &mut Env, group: Vec<Sighting>, now: Time) {
        let Some(sighting) = group.first() else {
            return;
        };
        let named = Named {
            name: sighting.name.clone(),
            meta: sighting.meta,
        };
        let waited = self
            .damaged
            .iter()
            .any(|(name, _, since)| *name == named.name && now.since(*since) >= DAMAGED_WAIT);
        let same_base = |known: &&mut Known| {
            known.last_name.base == named.name.base && known.segment.gone().is_none()
        };
        let before = self.segments.iter_mut().find(same_base);
        if !waited || before.as_ref().is_some_and(|known| !known.names.is_empty()) {
            return;
        }
        env.stats.damaged_files.add();
        match before {
            Some(known) => {
                known.names.push(named);
                if env.keeper.get(known.segment.serial).is_none() {
                    known.segment.lose(Loss::Corrupt);
                }
            }
            None => {
                self.insert(env, group, now);
                let base = named.name.base;
                let found = self
                    .segments
                    .iter()
                    .find(|known| known.last_name.base == base);
                if let Some(known) = found {
                    env.keeper.close(known.segment.serial);
                    known.segment.lose(Loss::Corrupt);
                }
            }
        }
    }
}

/// Nobody can read it any more: lost, unless everybody has.
pub fn give_up(env: &Env, known: &Known) {
    known.segment.end();
    if known.segment.passed_by_all() >= known.segment.len_bytes() {
        known.segment.finish();
    } else {
        known.segment.lose(Loss::Deleted);
        env.stats.deleted_losses.add();
    }
}
