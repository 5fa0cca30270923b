//! Plays the containers of a node: what they write and when, when they end, restart and are deleted. One round is
//! [`ROUND_MS`] milliseconds of play; whoever calls [`Player::round`] decides how long it takes.
//!
//! Invariant: what a plan plays depends on the plan and the calls alone, and after the last round
//! [`Player::played`] names every line that is in the files, no more and no less.

use std::path::Path;
use std::sync::Arc;

use super::DemoError;
use super::cast::{self, Role};
use super::kubelet::{Kubelet, Pod};
use super::lines::Moment;
use super::plan::{DELETION_DELAY, Instance, Plan, Played, ROUND_MS, ROUNDS_PER_S, Totals};
use super::writer::{Exit, Writer};

/// Rotations of one container between two looks of the agent that the demo allows: more would delete unread files.
const ROTATIONS_AWAY_MAX: u32 = 2;
const KUBELET_INTERVAL: u32 = 10;
const ROTATION_INTERVAL: u32 = ROUNDS_PER_S;
const SHORT_POD_INTERVAL: u32 = 25;
const RESTART_INTERVAL: u32 = 75;

#[derive(Debug)]
struct Birth {
    round: u32,
    role: usize,
    restart: u32,
}

/// Plays a plan.
#[derive(Debug)]
pub struct Player {
    plan: Plan,
    rng: fastrand::Rng,
    kubelet: Kubelet,
    round: u32,
    roles: Vec<Role>,
    writers: Vec<Writer>,
    births: Vec<Birth>,
    deletions: Vec<(u32, Arc<Pod>)>,
    played: Played,
}

impl Player {
    /// Sets the stage: all long-lived pods are there and have written nothing yet.
    pub fn new(plan: Plan, pods: &Path, links: &Path) -> Result<Player, DemoError> {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let (roles, pods_played) = cast::residents(&mut rng);
        let mut player = Player {
            kubelet: Kubelet::new(pods, links)?,
            round: 0,
            writers: Vec::new(),
            births: Vec::new(),
            deletions: Vec::new(),
            played: Played::default(),
            plan,
            rng,
            roles,
        };
        player.played.totals.pods = pods_played;
        player.played.totals.containers = player.roles.len() as u64;
        for role in 0..player.roles.len() {
            player.birth(role, 0)?;
        }
        Ok(player)
    }

    /// Plays one round; `away` says that no agent is running just now. Returns whether there is more to play.
    pub fn round(&mut self, away: bool) -> Result<bool, DemoError> {
        self.round += 1;
        if self.round <= self.plan.rounds {
            self.come_and_go()?;
        }
        self.births_due()?;
        self.write()?;
        self.rotate(away)?;
        if !away {
            // A kubelet would not wait; but what is deleted while no agent runs, no agent can have seen.
            self.delete_due()?;
        }
        Ok(self.round < self.plan.rounds + DELETION_DELAY
            || !self.deletions.is_empty()
            || !self.births.is_empty()
            || self.writers.iter().any(Writer::is_mortal))
    }

    /// What was played so far.
    pub fn played(&self) -> &Played {
        &self.played
    }

    /// The play in numbers, so far.
    pub fn totals(&self) -> Totals {
        Totals {
            chores: self.kubelet.chores,
            ..self.played.totals
        }
    }

    /// Ends the play.
    pub fn into_played(mut self) -> Played {
        self.played.totals = self.totals();
        self.played
    }

    fn now(&self) -> Moment {
        Moment(self.plan.start.0 + u64::from(self.round) * ROUND_MS * 1_000_000)
    }

    /// Starts short-lived pods and lets containers crash, each when its time has come.
    fn come_and_go(&mut self) -> Result<(), DemoError> {
        if self.round.is_multiple_of(SHORT_POD_INTERVAL) {
            let number = self.played.totals.short_pods;
            let role = cast::visitor(&mut self.rng, number);
            self.played.totals.short_pods += 1;
            self.played.totals.containers += 1;
            self.roles.push(role);
            self.birth(self.roles.len() - 1, 0)?;
        }
        let crashes = self.writers.iter().position(|writer| {
            self.roles
                .get(writer.role)
                .is_some_and(|role| role.crash_interval.is_some_and(|every| writer.age >= every))
        });
        let unlucky = self
            .round
            .is_multiple_of(RESTART_INTERVAL)
            .then(|| self.rng.usize(..self.writers.len().max(1)));
        for writer in [crashes, unlucky].into_iter().flatten() {
            let mortal = self.writers.get(writer).is_none_or(Writer::is_mortal);
            if !mortal {
                self.restart(writer)?;
                break;
            }
        }
        Ok(())
    }

    fn restart(&mut self, writer: usize) -> Result<(), DemoError> {
        let writer = self.writers.swap_remove(writer);
        let (role, restart) = (writer.role, writer.restart + 1);
        self.exit(writer)?;
        self.births.push(Birth {
            round: self.round + self.rng.u32(2..20),
            role,
            restart,
        });
        self.played.totals.restarts += 1;
        Ok(())
    }

    fn exit(&mut self, writer: Writer) -> Result<(), DemoError> {
        let exit = [Exit::Whole, Exit::OpenPart, Exit::OpenParts, Exit::Torn][self.rng.usize(..4)];
        let now = self.now();
        let Some(style) = self.roles.get(writer.role).map(|role| role.style) else {
            return Ok(());
        };
        writer.end(
            exit,
            style,
            now,
            &mut self.rng,
            &mut self.kubelet,
            &mut self.played,
        )
    }

    fn birth(&mut self, role: usize, restart: u32) -> Result<(), DemoError> {
        let Some(part) = self.roles.get(role) else {
            return Ok(());
        };
        let id = cast::hex(&mut self.rng, 64);
        let file = self
            .kubelet
            .start(&part.pod, &part.container, restart, &id)?;
        let log = self.kubelet.live_log(&part.pod, &part.container, restart);
        let instance = self.played.instances.len();
        self.played.instances.push(Instance {
            pod: Arc::clone(&part.pod),
            container: part.container.clone(),
            restart,
            id,
            lines: [0; 2],
            unfinished: [None; 2],
        });
        self.writers
            .push(Writer::new(instance, role, restart, part.life, log, file));
        Ok(())
    }

    fn births_due(&mut self) -> Result<(), DemoError> {
        let round = self.round;
        let due: Vec<Birth> = self
            .births
            .extract_if(.., |birth| birth.round <= round)
            .collect();
        for birth in due {
            self.birth(birth.role, birth.restart)?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), DemoError> {
        let (now, playing) = (self.now(), self.round <= self.plan.rounds);
        let mut over = Vec::new();
        for (index, writer) in self.writers.iter_mut().enumerate() {
            let Some(role) = self.roles.get(writer.role) else {
                continue;
            };
            if playing || writer.is_mortal() {
                let share = role.pace.bytes_per_round(&mut self.rng, &self.plan);
                writer.speak(role.style, share, now, &mut self.rng, &mut self.played);
            }
            let hold = playing.then_some(&mut self.rng);
            writer.write(hold, &mut self.played.totals)?;
            if writer.grow_older() {
                over.push(index);
            }
        }
        for index in over.into_iter().rev() {
            let writer = self.writers.swap_remove(index);
            if let Some(role) = self.roles.get(writer.role) {
                let pod = Arc::clone(&role.pod);
                self.deletions.push((self.round + DELETION_DELAY, pod));
            }
            self.exit(writer)?;
        }
        Ok(())
    }

    fn rotate(&mut self, away: bool) -> Result<(), DemoError> {
        let (now, round) = (self.now(), self.round);
        let look = round.is_multiple_of(KUBELET_INTERVAL) && round <= self.plan.rounds;
        for writer in &mut self.writers {
            writer.rotations_away = if away { writer.rotations_away } else { 0 };
            writer.reopen_if_due(round, &mut self.played.totals)?;
            if look
                && writer.live_bytes >= self.plan.rotate_bytes
                && writer.rotations_away < ROTATIONS_AWAY_MAX
                && writer
                    .rotated_round
                    .is_none_or(|last| round >= last + ROTATION_INTERVAL)
                && let Some(renamed) = self.kubelet.rotate(&writer.log, now)?
            {
                writer.renamed(renamed, round, round + self.rng.u32(1..6));
                writer.rotations_away += u32::from(away);
            }
        }
        Ok(())
    }

    fn delete_due(&mut self) -> Result<(), DemoError> {
        let round = self.round;
        for (_, pod) in self.deletions.extract_if(.., |(due, _)| *due <= round) {
            self.kubelet.delete_pod(&pod)?;
        }
        // One dead instance per container stays; those before it are deleted when its successor has run a while.
        for writer in &self.writers {
            if writer.restart < 2 || writer.age != ROUNDS_PER_S {
                continue;
            }
            let Some(role) = self.roles.get(writer.role) else {
                continue;
            };
            let older = self.played.instances.iter().find(|instance| {
                instance.pod == role.pod
                    && instance.container == role.container
                    && instance.restart + 2 == writer.restart
            });
            if let Some(older) = older {
                self.kubelet
                    .collect(&older.pod, &older.container, older.restart, &older.id)?;
            }
        }
        Ok(())
    }
}
