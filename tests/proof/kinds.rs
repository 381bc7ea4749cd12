//! The kinds of handover that are put to the proof.

use handoverd::adapters::sim::call::{Clean, Director};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::{Answer, Simulation};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::{SimWorld, WorldRules};
use handoverd::handover::protocol::Protocol;
use handoverd::model::life::{Enablement, LifeState};
use handoverd::requests::{DeployOptions, MoveOptions};

/// What is asked of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Deploy { stopped: bool },
    Move,
    Upgrade { elsewhere: bool },
    Start,
    Stop,
    Remove { delete_data: bool },
}

/// A kind: a service, the state of its source, and what is asked.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub cast: Cast,
    pub dead: bool,
    pub ask: Ask,
}

const fn kind(name: &'static str, cast: Cast, ask: Ask) -> Kind {
    Kind {
        name,
        cast,
        dead: false,
        ask,
    }
}

const fn dead(name: &'static str, cast: Cast) -> Kind {
    Kind {
        name,
        cast,
        dead: true,
        ask: Ask::Move,
    }
}

const ACCESSIBLE: Cast = Cast::of(LifeState::Accessible);
const RUNNING: Cast = Cast::of(LifeState::Running);
const STOPPED: Cast = Cast::of(LifeState::Stopped);
const FAILED: Cast = Cast::of(LifeState::Failed);
const DISABLED: Cast = Cast {
    enablement: Enablement::Disabled,
    ..ACCESSIBLE
};
const EXCLUSIVE: Cast = Cast {
    overlap: false,
    ..ACCESSIBLE
};
const ABSENT: Cast = Cast {
    deployed: false,
    ..ACCESSIBLE
};

/// Every kind.
pub const KINDS: [Kind; 37] = [
    kind("move accessible", ACCESSIBLE, Ask::Move),
    kind(
        "move accessible, lagging server",
        ACCESSIBLE.with_lag(5_000),
        Ask::Move,
    ),
    kind("move accessible, long TTL", ACCESSIBLE.with_ttl(30), Ask::Move),
    kind(
        "move accessible, volume, long TTL",
        ACCESSIBLE.with_volume().with_ttl(30),
        Ask::Move,
    ),
    kind("move running", RUNNING, Ask::Move),
    kind("move stopped", STOPPED, Ask::Move),
    kind("move failed", FAILED, Ask::Move),
    kind("move accessible, volume", ACCESSIBLE.with_volume(), Ask::Move),
    kind("move running, volume", RUNNING.with_volume(), Ask::Move),
    kind("move stopped, volume", STOPPED.with_volume(), Ask::Move),
    kind("move failed, volume", FAILED.with_volume(), Ask::Move),
    dead("evacuate accessible", ACCESSIBLE),
    dead("evacuate running", RUNNING),
    dead("evacuate stopped", STOPPED),
    dead("evacuate failed", FAILED),
    dead("evacuate accessible, volume", ACCESSIBLE.with_volume()),
    dead("evacuate running, volume", RUNNING.with_volume()),
    dead("evacuate stopped, volume", STOPPED.with_volume()),
    dead("evacuate failed, volume", FAILED.with_volume()),
    kind("move disabled", DISABLED, Ask::Move),
    kind("move disabled, volume", DISABLED.with_volume(), Ask::Move),
    kind("move without overlap", EXCLUSIVE, Ask::Move),
    dead("evacuate without overlap", EXCLUSIVE),
    kind("deploy", ABSENT, Ask::Deploy { stopped: false }),
    kind("deploy stopped", ABSENT, Ask::Deploy { stopped: true }),
    kind(
        "deploy, volume",
        ABSENT.with_volume(),
        Ask::Deploy { stopped: false },
    ),
    kind("upgrade in place", ACCESSIBLE, Ask::Upgrade { elsewhere: false }),
    kind(
        "upgrade in place, volume",
        ACCESSIBLE.with_volume(),
        Ask::Upgrade { elsewhere: false },
    ),
    kind(
        "upgrade stopped in place",
        STOPPED,
        Ask::Upgrade { elsewhere: false },
    ),
    kind("upgrade elsewhere", ACCESSIBLE, Ask::Upgrade { elsewhere: true }),
    kind("start", STOPPED, Ask::Start),
    kind("start, volume", STOPPED.with_volume(), Ask::Start),
    kind("stop", ACCESSIBLE, Ask::Stop),
    kind("stop, volume", ACCESSIBLE.with_volume(), Ask::Stop),
    kind("remove", ACCESSIBLE, Ask::Remove { delete_data: false }),
    kind(
        "remove, volume",
        ACCESSIBLE.with_volume(),
        Ask::Remove { delete_data: false },
    ),
    kind(
        "remove with its data",
        ACCESSIBLE.with_volume(),
        Ask::Remove { delete_data: true },
    ),
];

impl Kind {
    /// The world before anything is asked.
    pub fn world(self) -> SimWorld {
        let mut world = self.cast.world(3).unwrap();
        if self.dead {
            world.happen(&Happening::Die(SimWorld::guest_id(1)));
        }
        world
    }

    /// A simulation in which this was asked.
    pub fn begin(self, director: Box<dyn Director>) -> (Simulation, Answer) {
        self.begin_with(director, Protocol::default(), WorldRules::default())
    }

    /// The same under other rules.
    pub fn begin_with(
        self,
        director: Box<dyn Director>,
        protocol: Protocol,
        rules: WorldRules,
    ) -> (Simulation, Answer) {
        let mut world = self.world();
        world.rules = rules;
        let host = "hv1".parse().unwrap();
        let mut simulation = Simulation::with_protocol(world, host, director, protocol);
        let bundle = move |version| self.cast.bundle("web", version).unwrap().digest.to_string();
        let ask = self.ask;
        let answer = simulation.request(move |requests| async move {
            match ask {
                Ask::Deploy { stopped } => {
                    let options = DeployOptions {
                        stopped,
                        ..DeployOptions::default()
                    };
                    requests.deploy(&bundle('1'), "g2", options, "test").await
                }
                Ask::Move => requests.move_("web", "g2", MoveOptions::default(), "test").await,
                Ask::Upgrade { elsewhere } => {
                    let target = elsewhere.then_some("g2");
                    requests
                        .upgrade("web", &bundle('2'), target, MoveOptions::default(), "test")
                        .await
                }
                Ask::Start => requests.start("web", "test").await,
                Ask::Stop => requests.stop("web", "test").await,
                Ask::Remove { delete_data } => requests.remove("web", delete_data, "test").await,
            }
        });
        (simulation, answer)
    }

    /// A simulation without faults.
    pub fn clean(self) -> (Simulation, Answer) {
        self.begin(Box::new(Clean))
    }
}
