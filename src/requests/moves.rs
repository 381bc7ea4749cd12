//! Moves: what the object is, and so whether one service moves or all services of a guest do.

use std::sync::Arc;

use futures_util::future::join;

use super::refusal::Refusal;
use super::{BatchChoices, MoveOptions, Requests, facts_of, place_of, refuse_frozen};
use crate::handover::goals::Kind;
use crate::handover::record::Handover;
use crate::model::batch::Decision;
use crate::model::guest::GuestSummary;
use crate::model::ids::{GuestId, JobId, ServiceId};
use crate::model::service::ServiceRecord;
use crate::plan::strategy::TargetName;

/// What a request is about.
pub(super) enum Object {
    /// One service.
    Service(Box<ServiceRecord>),
    /// A guest, and so all its services.
    Guest(GuestSummary),
}

impl Requests {
    /// Moves a service, or all services of a guest, to another guest or to where a strategy puts them. What is under way
    /// already in the same way is not begun again: its job is told.
    ///
    /// # Errors
    /// What the request names is not there, is there already, or will not do.
    pub async fn move_(
        self: &Arc<Self>,
        object: &str,
        target: &str,
        options: MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        match (self.object(object).await?, TargetName::of(target)) {
            (Object::Service(service), TargetName::Guest(_)) => {
                only_for_guests(&options.batch)?;
                let target = self.guest(target).await?;
                self.move_named(&service, target, &options, who).await
            }
            (Object::Service(service), _) => {
                only_for_guests(&options.batch)?;
                self.move_by_strategy(&service, target, &options, who).await
            }
            (Object::Guest(guest), _) => self.move_guest(&guest, target, &options, who).await,
        }
    }

    /// What a text is about: a service of that id, else the guest that answers to it.
    ///
    /// # Errors
    /// Neither is there, or the guest is more than one.
    pub(super) async fn object(&self, text: &str) -> Result<Object, Refusal> {
        if let Some(service) = self.find_service(text).await? {
            return Ok(Object::Service(Box::new(service)));
        }
        match self.guest(text).await {
            Ok(guest) => Ok(Object::Guest(guest)),
            Err(Refusal::NoSuchGuest(_)) => Err(Refusal::NoSuchObject(text.to_owned())),
            Err(other) => Err(other),
        }
    }

    async fn move_named(
        &self,
        service: &ServiceRecord,
        target: GuestSummary,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let name = target.name.clone();
        let job = self.move_service(service, target, options, who).await?;
        let decision = Decision {
            at: self.world.clock.now(),
            who: who.to_owned(),
            what: format!("move {} {name}", service.id),
            service: service.id.clone(),
            decision: format!("{name}: it was named; job {job}"),
            inputs: vec![(service.guest_name.clone(), "it was there".to_owned())],
        };
        self.world.table.decide(&[decision]).await?;
        Ok(job)
    }

    /// Begins the move of one service to one guest: the one way for single moves and for members of a batch.
    pub(super) async fn move_service(
        &self,
        service: &ServiceRecord,
        target: GuestSummary,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        if target.id == service.guest {
            return Err(Refusal::AlreadyThere(format!(
                "{} is already there: on {}",
                service.id, target.name
            )));
        }
        let bundle = self.bundle_of(service).await?;
        if !bundle.manifest.movable {
            return Err(Refusal::NotMovable(service.id.to_string()));
        }
        refuse_frozen(service)?;
        if let Some(handover) = self.same_move(&service.id, target.id).await? {
            return Ok(handover.job);
        }
        let displaces = self.has_duty(&service.id, &target, &bundle.digest).await?;
        // From a guest that died while the old copy there serves, it goes back to that one.
        if !(displaces && self.is_off(service.guest).await?) {
            self.refuse_maintained(&target).await?;
        }
        self.refuse_unfit(&target, &bundle)?;
        let volume = self.volume_for_move(service, &bundle.manifest, &target).await?;
        let (fit, seen) = match self.fit_by_standing(service, &target, &bundle).await? {
            Some(fit) => (fit, None),
            None => {
                let (fit, seen) = join(
                    self.preflight(&target, &bundle, service.files.clone(), service.uid, displaces),
                    self.seen(service, &bundle),
                )
                .await;
                (fit?, seen)
            }
        };
        let mut facts = facts_of(&bundle, service.wanted, service.enablement);
        facts.drain = options.drain;
        facts.held_by = options.held_by;
        facts.volume = volume;
        self.enter(&mut facts, seen, fit.addresses);
        let source = Some(place_of(service));
        let next = service.generation.next();
        let begun = self
            .begin(
                Kind::Move,
                "move",
                &service.id,
                source,
                fit.place,
                next,
                facts,
                who,
            )
            .await;
        let Err(Refusal::Busy(why)) = begun else {
            return begun;
        };
        // An equal one may have begun while this one was looking.
        match self.same_move(&service.id, target.id).await? {
            Some(handover) => Ok(handover.job),
            None => Err(Refusal::Busy(why)),
        }
    }

    /// The handover that moves this service to this guest already, if there is one.
    pub(super) async fn same_move(
        &self,
        service: &ServiceId,
        target: GuestId,
    ) -> Result<Option<Handover>, Refusal> {
        let open = self.world.table.unfinished().await?;
        Ok(open.into_iter().find(|h| {
            h.service == *service && h.kind == Kind::Move && h.target.guest == target && !h.committed
        }))
    }
}

/// Options of a batch are not passed over in silence where there is none.
fn only_for_guests(choices: &BatchChoices) -> Result<(), Refusal> {
    if *choices == BatchChoices::default() {
        return Ok(());
    }
    Err(Refusal::InvalidArgument(
        "partial, parallel, per_guest and per_host are for all services of a guest; this is one service"
            .to_owned(),
    ))
}
