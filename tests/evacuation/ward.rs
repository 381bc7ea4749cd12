//! A cluster whose daemon watches its guests.

use handoverd::adapters::sim::call::{Clean, Director};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::batch::BatchMember;
use handoverd::model::ids::JobId;
use handoverd::model::service::Millis;
use handoverd::ports::JobRecord;
use handoverd::requests::watching::Terms;
use handoverd::watch::blast::Limits;
use handoverd::watch::cause::Policy;

use crate::stage::Stage;

/// What is shipped.
pub fn terms() -> Terms {
    Terms {
        enabled: true,
        policy: Policy::default(),
        limits: Limits::default(),
    }
}

impl Stage {
    /// A daemon that watches the guests of this world and has seen all of them.
    pub fn watching(world: SimWorld) -> Self {
        Self::watching_by(world, terms(), Box::new(Clean))
    }

    pub fn watching_by(world: SimWorld, terms: Terms, director: Box<dyn Director>) -> Self {
        let mut stage = Self::with(world, director);
        stage.0.watch_guests(terms);
        stage.pass(1_000);
        stage
    }

    /// Lets things happen now.
    pub fn happen(&mut self, happenings: impl IntoIterator<Item = Happening>) {
        let now = happenings.into_iter().map(|happening| (0, happening)).collect();
        self.0.shared.lock().happen(now);
    }

    /// Lets this many milliseconds pass.
    #[track_caller]
    pub fn pass(&mut self, span: Millis) {
        self.0.run(span, |inner| !inner.violations.is_empty());
        self.unbroken();
    }

    /// The evacuations so far, oldest first.
    pub fn evacuations(&self) -> Vec<(JobRecord, Vec<BatchMember>)> {
        let jobs: Vec<JobId> = self.table(|table| {
            let all = table.jobs.values().filter(|job| job.operation == "evacuate");
            all.map(|job| job.id).collect()
        });
        jobs.into_iter().map(|job| self.told(job)).collect()
    }

    /// Lets time pass until an evacuation has begun and all jobs have ended; the last one.
    #[track_caller]
    pub fn evacuated(&mut self) -> (JobRecord, Vec<BatchMember>) {
        self.until("an evacuation", |table| {
            table.jobs.values().any(|job| job.operation == "evacuate")
        });
        self.end();
        self.evacuations().pop().unwrap()
    }
}
